"""Gives timm what it asks of a sequence of named layers: heads, feature taps, pruning, parameter groups."""

from pathlib import Path
from typing import Optional, Union

import torch
from timm.layers import get_device_dtype
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from alexnet_zoo.models.fit import load_pretrained

EXPECTS = "expects."  # begins the names of tensors, beside a run's weights, that say what its network reads


class ToldItsInput(nn.Sequential):
    """A network whose file of weights may say what it reads."""

    @torch.jit.ignore
    def load_state_dict(self, state_dict: dict[str, Tensor], strict: bool = True, assign: bool = False):
        """Takes weights; what a run's file says of its input goes where timm's transforms look."""
        said = [name for name in state_dict if name.startswith(EXPECTS)]
        if said:
            state_dict = dict(state_dict)
            told = {name.removeprefix(EXPECTS): state_dict.pop(name).tolist() for name in said}
            self.pretrained_cfg = getattr(self, "pretrained_cfg", {}) | told
        return super().load_state_dict(state_dict, strict, assign)


class TimmModel(ToldItsInput):
    """Computes maps by the first `num_feature_layers` layers, logits by the rest; the last, fc8, classifies."""

    num_feature_layers: torch.jit.Final[int]
    num_layers: torch.jit.Final[int]
    order: torch.jit.Final[str]  # the layers' names: torch.jit would give two orders of them the same code without it

    def forward_features(self, x: Tensor) -> Tensor:
        """Computes the last maps of images (N, 3, H, W): pool5's are (N, 256, 6, 6)."""
        for i, layer in enumerate(self):
            if i < self.num_feature_layers:
                x = layer(x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Computes logits (N, num_classes) from the last maps, or with pre_logits what fc8 reads (N, 4096)."""
        if self.global_pool == "":
            return x
        for i, layer in enumerate(self):
            if i >= self.num_feature_layers and not (pre_logits and i == self.num_layers - 1):
                x = layer(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict:
        return dict(stem=r"^conv1\.", blocks=r"^(?:conv|fc)(\d+)\.")

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        if enable:
            raise ValueError("gradient checkpointing is not supported")

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        return self.fc8

    @torch.jit.ignore
    def load_pretrained(self, path: str) -> None:
        """Loads weights from a file in the format that they were published in (timm calls this)."""
        load_pretrained(self, Path(path))

    def reset_classifier(self, num_classes: int, global_pool: Optional[str] = None) -> None:
        """Makes a new fc8 for num_classes, with the paper's initialisation; none for 0."""
        self.num_classes = num_classes
        if global_pool is not None:
            self.global_pool = global_pool
        trainable = all(p.requires_grad for p in self.get_classifier().parameters())
        fc8 = nn.Identity()
        if num_classes:
            fc8 = nn.Linear(self.head_hidden_size, num_classes, **get_device_dtype(self))
            nn.init.normal_(fc8.weight, std=0.01)
            nn.init.zeros_(fc8.bias)
        self.fc8 = fc8.train(self.training).requires_grad_(trainable)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: Optional[Union[int, list[int]]] = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Union[list[Tensor], tuple[Tensor, list[Tensor]]]:
        """Returns the activations of the convolutional layers, and pool5, that indices name (timm's idiom)."""
        assert output_fmt == "NCHW", "Output shape must be NCHW."
        taps = [info["module"] for info in self.feature_info]
        taken, last = feature_take_indices(len(taps), indices)
        wanted = [taps[i] for i in taken]
        intermediates = []
        for i, (name, layer) in enumerate(self.named_children()):
            if i < self.num_feature_layers:
                x = layer(x)
                if name in wanted:
                    intermediates.append(x)
                if stop_early and name == taps[last]:
                    break
        return intermediates if intermediates_only else (x, intermediates)

    def prune_intermediate_layers(
        self, indices: Union[int, list[int]] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drops the layers after the last one that indices name; returns the indices."""
        taken, last = feature_take_indices(len(self.feature_info), indices)
        names, tap = list(self._modules), self.feature_info[last]
        keep = names.index(tap["module"]) + 1
        if prune_head or keep < self.num_feature_layers:
            self.num_features = self.head_hidden_size = tap["num_chs"]
            self.num_classes, self.global_pool = 0, ""
            for name in names[keep:]:
                delattr(self, name)
            self.fc8 = nn.Identity()
            self.num_feature_layers, self.num_layers = keep, len(self)
        return taken
