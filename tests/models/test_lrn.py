import numpy as np
import pytest
import torch
import torch.nn.functional as F

from alexnet_zoo.models import lrn as lrn_module
from alexnet_zoo.models.lrn import (
    LocalResponseNorm,
    MapNorm,
    local_response_norm_banded,
    local_response_norm_slices,
)


def lrn_by_the_formula(a: np.ndarray, columns: int, n=5, k=2.0, alpha=1e-4, beta=0.75) -> np.ndarray:
    """Section 3.3, sum by sum; each column on its own."""
    b = np.empty_like(a)
    width = a.shape[1] // columns
    for i in range(a.shape[1]):
        first = i // width * width
        window = range(max(first, i - n // 2), min(first + width - 1, i + n // 2) + 1)
        b[:, i] = a[:, i] / (k + alpha * sum(a[:, j] ** 2 for j in window)) ** beta
    return b


@pytest.fixture(params=[None, 100], ids=["one piece", "many pieces"])
def piece(request, monkeypatch):
    """Also in pieces that are small, and a last one that is shorter."""
    if request.param:
        monkeypatch.setattr(lrn_module, "PIECE", request.param)


ORDERS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("order", ORDERS, ids=["nchw", "channels_last"])
@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("channels, images", [(12, 5), (96, 2), (4, 1)])
def test_is_the_formula(piece, channels, images, columns, order):
    x = (torch.randn(images, channels, 3, 4, dtype=torch.float64) * 100).to(memory_format=order)
    expected = lrn_by_the_formula(x.numpy(), columns)
    lrn = LocalResponseNorm(columns=columns)
    np.testing.assert_allclose(lrn(x).numpy(), expected, rtol=1e-12)
    assert lrn(x).is_contiguous(memory_format=order)
    for form in (local_response_norm_slices, local_response_norm_banded):
        np.testing.assert_allclose(form(x, 5, 1e-4, 0.75, 2.0, columns).numpy(), expected, rtol=1e-12)


def test_torch_divides_alpha_by_n_and_the_paper_does_not():
    x = torch.randn(2, 16, 5, 5) * 100
    torch.testing.assert_close(LocalResponseNorm()(x), F.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0))
    assert not torch.allclose(LocalResponseNorm()(x), F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=2.0))


def test_columns_differ_from_one_window_only_at_their_border():
    x = torch.randn(2, 96, 5, 5) * 100
    differs = (LocalResponseNorm(columns=2)(x) != LocalResponseNorm(columns=1)(x)).any(dim=(0, 2, 3))
    assert differs.nonzero().flatten().tolist() == [46, 47, 48, 49]


@pytest.mark.parametrize("beta", [0.75, 0.5])
@pytest.mark.parametrize("columns", [1, 2])
def test_backward(piece, columns, beta):
    x = (torch.randn(3, 8, 2, 3, dtype=torch.float64) * 50).requires_grad_()
    assert torch.autograd.gradcheck(LocalResponseNorm(alpha=1e-3, beta=beta, columns=columns), x)


@pytest.mark.parametrize("order", ORDERS, ids=["nchw", "channels_last"])
@pytest.mark.parametrize("form", [local_response_norm_slices, local_response_norm_banded])
def test_backward_of_the_forms_is_the_same(piece, form, order):
    x = (torch.randn(4, 96, 7, 7, dtype=torch.float64) * 50).to(memory_format=order).requires_grad_()
    grad = torch.randn(4, 96, 7, 7, dtype=torch.float64)  # in its own order, as a layer that reshapes gives it
    fast = torch.autograd.grad(LocalResponseNorm(columns=2)(x), x, grad)[0]
    plain = torch.autograd.grad(form(x, 5, 1e-4, 0.75, 2.0, 2), x, grad)[0]
    torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-12)


def test_saves_its_input_and_nothing_else():
    x = torch.randn(4, 16, 9, 9, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        LocalResponseNorm()(x)
    assert saved == [x.numel()]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_float32(dtype):
    x = (torch.randn(2, 16, 4, 4) * 1000).to(dtype)  # the squares are beyond float16
    y = LocalResponseNorm()(x)
    assert y.dtype == dtype
    torch.testing.assert_close(y, LocalResponseNorm()(x.float()).to(dtype))


def test_layout_and_empty_batches():
    x = torch.randn(3, 16, 6, 6)
    lrn = LocalResponseNorm(columns=2)
    torch.testing.assert_close(lrn(x.to(memory_format=torch.channels_last)), lrn(x))
    assert lrn(x[:0]).shape == (0, 16, 6, 6)
    assert lrn(x[:0].to(memory_format=torch.channels_last)).shape == (0, 16, 6, 6)
    torch.testing.assert_close(lrn(x.transpose(2, 3)), lrn(x).transpose(2, 3))  # of neither order


FORMS = {
    "eager": lambda norm, x: norm,
    "scripted": lambda norm, x: torch.jit.script(norm),
    "traced": lambda norm, x: torch.jit.trace(norm, x),
    "compiled": lambda norm, x: torch.compile(norm, backend="aot_eager", fullgraph=True),
    "exported": lambda norm, x: torch.export.export(norm, (x,)).module(),
    "banded": lambda norm, x: lambda x: local_response_norm_banded(x, 5, 1e-3, 0.75, 2.0, 2),
}
AUTOCAST = [(LocalResponseNorm(alpha=1e-3, columns=2), form) for form in FORMS]
AUTOCAST += [(norm, form) for norm in (LocalResponseNorm(beta=0.5), MapNorm()) for form in ("eager", "scripted")]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch.jit is deprecated
@pytest.mark.parametrize("norm, form", AUTOCAST, ids=lambda value: value if isinstance(value, str) else str(value))
def test_autocast_changes_nothing(norm, form):
    torch.compiler.reset()  # else the compiler counts what earlier tests compiled, and gives up at its limit
    x = (torch.randn(2, 16, 5, 5) * 50).requires_grad_()
    grad, exact = torch.randn_like(x), x.detach().double().requires_grad_()
    run = FORMS[form](norm, x)
    with torch.autocast("cpu", torch.bfloat16):
        y = run(x)
        (grad_x,) = torch.autograd.grad(y, x, grad)
    expected = norm(exact)
    (expected_grad,) = torch.autograd.grad(expected, exact, grad.double())
    torch.testing.assert_close(y.double(), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(grad_x.double(), expected_grad, rtol=1e-5, atol=1e-6)
