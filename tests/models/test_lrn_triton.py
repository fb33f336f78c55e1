"""The CUDA kernels of LRN without a card, in Triton's interpreter and compiled ahead of time; and on one."""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import timm
import torch

import alexnet_zoo  # noqa: F401  (gives timm the networks)
from alexnet_zoo.models.lrn import fuse_relu, local_response_norm

triton = pytest.importorskip("triton", reason="no triton: it comes with torch where torch can use CUDA")
from alexnet_zoo.models import lrn_triton  # noqa: E402

ALPHA, K = 1e-3, 2.0
SHAPES = {  # maps, columns, height, width, and the window
    "norm1": (96, 2, 3, 5, 5),
    "odd": (22, 2, 7, 9, 5),
    "power of two": (16, 1, 5, 3, 5),
    "several blocks": (6, 2, 17, 19, 5),
    "window of 9": (15, 1, 5, 7, 9),
    "wider than a column": (4, 2, 3, 5, 9),
}
ORDERS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
# One rounding to the type, relatively; in float32 a few. Triton's interpreter cuts bfloat16 off, which is twice that.
ROUNDING = {torch.float32: 5e-7, torch.float16: 2**-11, torch.bfloat16: 2**-8}
CASES = [(name, order, "torch.float32", name != "norm1") for name, order in product(SHAPES, ORDERS)]
CASES += [("odd", order, str(dtype), False) for order, dtype in product(ORDERS, ROUNDING)]


def relative_error(value: torch.Tensor, exact: torch.Tensor) -> float:
    return ((value.detach().cpu().double() - exact).norm() / exact.norm()).item()


def errors_of(name: str, order: str, dtype: str, relu: bool, device: str) -> dict:
    """Errors of the kernels both ways, relative to float64; whether both results lie in memory as the input does."""
    maps, columns, height, width, size = SHAPES[name]
    torch.manual_seed(0)
    x = (torch.randn(2, maps, height, width) * 60).to(getattr(torch, dtype.removeprefix("torch.")))
    grad, exact = torch.randn(x.shape).to(x.dtype), x.double().requires_grad_()
    given = x.to(device).contiguous(memory_format=ORDERS[order]).requires_grad_()
    y = lrn_triton.lrn(given, size, ALPHA, K, columns, relu)
    y.backward(grad.to(device))
    expected = local_response_norm(exact, size, ALPHA, 0.75, K, columns, relu)
    expected.backward(grad.double())
    return {
        "forward": relative_error(y, expected.detach()),
        "backward": relative_error(given.grad, exact.grad),
        "strides kept": y.stride() == given.stride() == given.grad.stride(),
    }


def interpreted() -> dict:
    """What the tests below compare, computed on the CPU by Triton's interpreter."""
    cases = {str(case): errors_of(*case, device="cpu") for case in CASES}
    x = torch.randn(2, 8, 3, 4, requires_grad=True)
    constants = (5, ALPHA, K, 2, True)
    torch.library.opcheck(lrn_triton.lrn, (x, *constants))  # raises where fake, autograd and kernel disagree
    torch.library.opcheck(lrn_triton.lrn, (x.detach()[:, :, :, ::2].requires_grad_(), *constants))
    torch.library.opcheck(lrn_triton.lrn_backward, (x.detach(), torch.randn(2, 8, 3, 4), *constants))
    compiled = torch.compile(lambda x: lrn_triton.lrn(x, *constants), backend="aot_eager", fullgraph=True)
    plain = lrn_triton.lrn(x, *constants)
    with torch.autocast("cpu", torch.bfloat16):
        same = torch.equal(compiled(x), plain) and torch.equal(lrn_triton.lrn(x, *constants), plain)
    spoiled = x.detach().index_fill(1, torch.tensor([1]), torch.nan).requires_grad_()
    nan = []
    for order in ORDERS.values():
        y = lrn_triton.lrn(spoiled.contiguous(memory_format=order), *constants)
        nan += [y[:, 1].isnan().all().item(), torch.autograd.grad(y.sum(), spoiled)[0][:, 1].isnan().all().item()]
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.data_ptr()), lambda t: t):
        lrn_triton.lrn(x, *constants)
    empty = list(lrn_triton.lrn(x[:0], *constants).shape)
    return {"cases": cases, "same": same, "saved": saved == [x.data_ptr()], "empty": empty, "nan": all(nan)}


@pytest.fixture(scope="module")
def report() -> dict:
    """Triton interprets in a process that was started so."""
    root = Path(alexnet_zoo.__file__).parents[1]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(root)}
    run = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_interpreted_kernels_are_the_formula(report, case):
    limit = ROUNDING[getattr(torch, case[2].removeprefix("torch."))] * (2 if "bfloat16" in case[2] else 1)
    errors = report["cases"][str(case)]
    assert errors["forward"] < limit and errors["backward"] < limit and errors["strides kept"]


def test_operator(report):
    """Compiled or under autocast it is the same; it saves its input only; NaN stays NaN; a batch may be empty."""
    assert report["same"] and report["saved"] and report["nan"]
    assert report["empty"] == [0, 8, 3, 4]


NORM1, NORM2 = (128, 96, 55, 55), (128, 256, 27, 27)


def source_of(dtype: str, shape: tuple[int, ...], columns: int, last: bool, backward: bool) -> tuple:
    """What triton compiles of a kernel, for x of that shape and type, and with which options."""
    from triton.compiler import ASTSource

    kernel, _, places, constants = lrn_triton.plan(torch.Size(shape), 5, columns, True, backward, last)
    options = {name: constants.pop(name) for name in ("num_warps", "enable_fp_fusion")}
    names = list(kernel.arg_names)
    kinds = {"places": "i32", "alpha": "fp32", "k": "fp32"}
    types = {name: "constexpr" if name in constants else kinds.get(name, f"*{dtype}") for name in names}
    # The launcher finds out what is divisible by 16.
    even = [name for name in names if name.endswith("_ptr") or (name == "places" and places % 16 == 0)]
    attributes = {(names.index(name),): [["tt.divisibility", 16]] for name in even}
    fixed = {(names.index(name),): value for name, value in constants.items()}
    return ASTSource(kernel, types, fixed, attributes), options


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("last", [False, True], ids=list(ORDERS))
@pytest.mark.parametrize("chip, dtype, shape", [(80, "bf16", NORM1), (90, "bf16", NORM2), (90, "fp32", NORM1)])
def test_compiled_kernels_do_not_spill(chip, dtype, shape, last, backward, resources):
    source, options = source_of(dtype, shape, 2, last, backward)
    registers, stack = resources(source, chip, **options)
    assert stack == 0, "what does not fit in registers goes to the stack"
    assert registers <= 128  # so that four programs of 128 threads and more run on one multiprocessor


def test_fused_relu_changes_nothing():
    model = timm.create_model("alexnet_krizhevsky", width_mult=0.125, img_size=64, num_classes=3, init_std="he")
    x = torch.randn(2, 3, 64, 64) * 60
    names = [name for name, _ in model.named_children()]
    model.eval()
    plain = [model(x), *torch.autograd.grad(model(x).square().sum(), list(model.parameters()))]
    fuse_relu(model)
    fused = [model(x), *torch.autograd.grad(model(x).square().sum(), list(model.parameters()))]
    assert names == [name for name, _ in model.named_children()]
    assert isinstance(model.relu1, torch.nn.Identity) and model.norm1.relu and isinstance(model.relu3, torch.nn.ReLU)
    assert all(torch.equal(a, b) for a, b in zip(plain, fused))


@pytest.mark.cuda
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_kernels_on_a_card(case):
    limit = ROUNDING[getattr(torch, case[2].removeprefix("torch."))]
    errors = errors_of(*case, device="cuda")
    assert errors["forward"] < limit and errors["backward"] < limit and errors["strides kept"]


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two cards")
@pytest.mark.parametrize("order", ORDERS)
def test_kernels_run_where_their_tensors_are(order):
    """On the second card, while the first is the current one."""
    errors = errors_of("odd", order, "torch.float32", True, device="cuda:1")
    assert torch.cuda.current_device() == 0
    assert errors["forward"] < ROUNDING[torch.float32] and errors["backward"] < ROUNDING[torch.float32]


@pytest.mark.cuda
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_step_on_a_card(order, compiled, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model = timm.create_model("alexnet_krizhevsky", width_mult=0.25, img_size=64, num_classes=3, init_std="he").eval()
    exact = timm.create_model("alexnet_krizhevsky", width_mult=0.25, img_size=64, num_classes=3).double().eval()
    exact.load_state_dict(model.state_dict())
    model = fuse_relu(model).to("cuda", memory_format=ORDERS[order])
    x = torch.randn(4, 3, 64, 64) * 60
    run = torch.compile(model, fullgraph=True) if compiled else model
    run(x.to("cuda", memory_format=ORDERS[order])).square().sum().backward()
    exact(x.double()).square().sum().backward()
    for (name, own), other in zip(model.named_parameters(), exact.parameters()):
        assert relative_error(own.grad, other.grad) < 1e-4, name


if __name__ == "__main__":
    print(json.dumps(interpreted()))
