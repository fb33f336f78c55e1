"""What a card would be given by a training step, found out without one.

Fake tensors know shapes, strides and devices, but no values. In a fake process group messages do not arrive.
"""

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._pytree import tree_leaves

from alexnet_zoo.train.columns import Layout, merge
from alexnet_zoo.train.exchange import _Read
from alexnet_zoo.train.step import input_form, make_step

FORMATS = ["channels_last=false", "channels_last=true"]


@pytest.mark.parametrize("precision", ["precision=float32", "precision=bfloat16"])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_no_step_asks_for_a_value(small_recipe, memory_format, precision):
    """On CUDA each question would make the host wait for all that the device was told to do."""
    step = make_step(small_recipe(memory_format, precision), 10, Layout())
    pixels, labels = torch.empty(128, 3, 64, 64), torch.zeros(128, dtype=torch.long)
    step(pixels, labels)  # the first one counts what is kept for the backward pass
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        loss, wrong = step(mode.from_tensor(pixels), mode.from_tensor(labels))
        with pytest.raises(DataDependentOutputException):
            loss.item()
    assert loss.shape == wrong.shape == ()


@pytest.mark.parametrize("memory_format", FORMATS)
def test_from_crops_to_logits_all_stays_on_the_device(small_recipe, memory_format):
    """Fake tensors refuse operations on two devices.

    Backward, to update and under autocast torch wants a driver even for these.
    """
    input_triton = pytest.importorskip("alexnet_zoo.data.batches.input_triton", reason="no triton")
    recipe = small_recipe(memory_format)
    step = make_step(recipe, 10, Layout())
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), torch.device("cuda"):
        step.model.to("cuda")
        step.layout = Layout(device=torch.device("cuda"))
        pixels = torch.empty(128, 64, 64, 3, dtype=torch.uint8)
        inputs = torch.empty(128, 3, 64, 64, **input_form(recipe))
        input_triton.to_input(pixels, torch.empty(128, 6), torch.empty(72, 72, 3), 1.0, False, inputs)
        logits = step.logits_of(inputs)
    assert logits.is_cuda and logits.shape == (128, 10)


@pytest.fixture(params=[0, 1], ids=["column 0", "column 1"])
def layout(request):
    """A column of the first of three replicas, alone."""
    dist.init_process_group("fake", rank=request.param, world_size=6, store=FakeStore())
    columns, replicas = dist.new_group([0, 1]), dist.new_group([request.param, request.param + 2, request.param + 4])
    yield Layout(2, 3, request.param, column_group=columns, data_group=replicas)
    dist.destroy_process_group()


@pytest.fixture
def messages(monkeypatch):
    """Every collective that is called while a test runs: its name, its group and its tensors."""
    seen = []

    def listen(name: str):
        call = getattr(dist, name)

        def listening(*args, **options):
            tensors = [part for part in tree_leaves((args, options)) if isinstance(part, torch.Tensor)]
            seen.append((name, options["group"], tensors))
            if name == "gather":
                for share in options.get("gather_list", args[1]) or ():
                    share.copy_(args[0])  # what columns share is equal
            return call(*args, **options)

        monkeypatch.setattr(dist, name, listening)

    for name in ("all_reduce", "all_gather", "all_to_all", "gather", "broadcast"):
        listen(name)
    return seen


@pytest.mark.parametrize("norm", ["model_args.norm=lrn", "model_args.norm=batch"])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_every_message_is_dense_in_one_order(small_recipe, layout, messages, memory_format, norm):
    """NCCL sends memory as it lies: a tensor in another order than its peer's arrives scrambled, without an error."""
    step = make_step(small_recipe(memory_format, norm), 10, layout)
    for _ in range(2):
        step(torch.rand(128, 3, 64, 64), torch.zeros(128, dtype=torch.long))
    merge(step.model.state_dict(), layout)
    assert {name for name, _, _ in messages} == {"all_reduce", "all_gather", "all_to_all", "gather", "broadcast"}
    for name, _, tensors in messages:
        assert all(tensor.is_contiguous() for tensor in tensors), (name, [tensor.stride() for tensor in tensors])
    summed = {tensors[0].numel() for name, _, tensors in messages if name == "all_reduce"}
    assert ({6, 16} <= summed) is ("batch" in norm)  # a number for each of the column's maps


@pytest.mark.parametrize("shared", [False, True])
def test_columns_that_share_a_card_meet_in_the_memory_of_the_host(small_recipe, layout, messages, shared):
    """For gloo, which takes only sums and broadcasts from a card; NCCL takes nothing from anywhere else."""
    layout.shared = shared
    model, kept = make_step(small_recipe(), 10, layout).model.eval(), SimpleNamespace()
    kept.save_for_backward = lambda *tensors: setattr(kept, "saved_tensors", tensors)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), torch.device("cuda"):
        meeting = model.to("cuda").conv3
        maps = torch.empty(16, meeting.weight.shape[1] // 2, 7, 7)
        read = _Read.forward(kept, maps, meeting.weight, meeting.bias, meeting)
        gradients = _Read.backward(kept, torch.empty_like(read))
        merge({"conv3.weight": meeting.weight}, layout)
    assert read.is_cuda and gradients[0].shape == maps.shape and gradients[0].is_cuda
    assert [name for name, _, _ in messages] == ["all_gather", "all_to_all", "gather"]
    for name, _, tensors in messages:
        assert {tensor.is_cuda for tensor in tensors} == {not shared}, name


def test_what_both_columns_hold_is_summed_once(small_recipe, layout, messages):
    """From three replicas on, two sums may differ in a rounding, and with them the columns' fc8."""
    model = make_step(small_recipe(), 10, layout)
    model(torch.rand(12, 3, 64, 64), torch.zeros(12, dtype=torch.long))
    held = {name: p.numel() for name, p in model.model.named_parameters()}
    fc8 = held.pop("fc8.weight") + held.pop("fc8.bias")
    sent = [(name, group, tensors[0].numel()) for name, group, tensors in messages if name != "all_gather"]
    sent = [message for message in sent if message[0] != "all_to_all"]
    once = [("all_reduce", layout.data_group, fc8)] if layout.column == 0 else []
    sums = [*once, ("all_reduce", layout.data_group, sum(held.values()))]
    assert sent == [*sums, ("broadcast", layout.column_group, fc8)]
