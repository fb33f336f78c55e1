import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from alexnet_zoo.devices import agree, check_bfloat16, check_precision, cuda_devices, out_of_memory_told, tf32
from alexnet_zoo.errors import UserError


@pytest.mark.parametrize(
    "machines, agreed",
    [
        ([(0, 2)], ("cpu", "gloo")),
        ([(2, 2)], ("cuda", "nccl")),
        ([(8, 2)], ("cuda", "nccl")),
        ([(1, 2)], ("cuda", "gloo")),  # the two columns share a device
        ([(4, 4), (4, 4)], ("cuda", "nccl")),
        ([(4, 4), (2, 4)], ("cuda", "gloo")),
        ([(4, 4), (0, 4)], ("cpu", "gloo")),
    ],
)
def test_all_machines_train_on_one_type_of_device_over_one_backend(machines, agreed):
    assert agree(machines) == agreed


@pytest.mark.parametrize(
    "marks, hidden",
    [("", True), ("not slow", True), ("slow", True), ("not cuda", True), ("cuda", False), ("cuda and not slow", False)],
)
def test_only_tests_that_ask_for_a_card_see_one(marks, hidden, pytestconfig, monkeypatch):
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "" and cuda_devices() == 0  # this run asks for none
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    conftest = pytestconfig.pluginmanager.get_plugin(str(Path(__file__).with_name("conftest.py")))
    conftest.pytest_configure(SimpleNamespace(option=SimpleNamespace(markexpr=marks)))
    assert (os.environ.get("CUDA_VISIBLE_DEVICES") == "") is hidden


def test_devices_that_there_are_not():
    assert cuda_devices("cpu") == 0
    with pytest.raises(UserError, match="auto, cpu or cuda") as error:
        cuda_devices("gpu")
    assert error.value.exit_code == 2


def test_bfloat16_is_refused_where_a_card_lacks_it():
    check_precision("bfloat16", torch.device("cpu"))
    check_bfloat16(SimpleNamespace(name="NVIDIA A100", major=8))
    with pytest.raises(UserError, match="bfloat16: Tesla T4 does not compute in it; --set precision=float32"):
        check_bfloat16(SimpleNamespace(name="Tesla T4", major=7))


def test_tf32_is_what_torch_does_unless_told():
    assert tf32() == ["convolutions"]


def test_out_of_memory_names_the_field_to_change():
    with pytest.raises(UserError, match=r"can't allocate memory.*--set batch_size=64$"), out_of_memory_told(128):
        torch.empty(2**50)
    failed = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    to_pin = torch.cuda.CudaError(2) if torch.version.cuda else RuntimeError("out of memory (2)")  # cudaHostRegister's
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nMore of it")
    for error in (full, RuntimeError(failed), to_pin):
        with pytest.raises(UserError, match=r"[^.]\. A smaller.*--set batch_size=64$"), out_of_memory_told(128):
            raise error
    with pytest.raises(RuntimeError, match="shapes"), out_of_memory_told(128):
        torch.zeros(2, 3) @ torch.zeros(2, 3)
