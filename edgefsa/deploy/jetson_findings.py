"""What works on a Jetson, what does not, and the command that mends it: everything that depends on JetPack."""

from __future__ import annotations

from typing import Any

from edgefsa.deploy.facts import Facts
from edgefsa.deploy.finding import OK, PROBLEM, WARNING, Finding, uninstall
from edgefsa.engines.tensorrt.target import OLDEST as OLDEST_TENSORRT
from edgefsa.machine.installed import OPENCV_PACKAGES, TENSORRT_PACKAGES
from edgefsa.machine.jetpack import ADDED_TENSORRT, NEWEST, OLDEST, Brought, brought_by, version_numbers

_COMPUTE_STACK = "sudo apt update && sudo apt install nvidia-jetpack"
_NEWER_JETPACK = "flash JetPack 6.1 or newer (NVIDIA SDK Manager, or an SD card image)"


def jetson_findings(facts: Facts) -> list[Finding]:
    """Judge a Jetson by what its JetPack brings and by what was put beside and over it."""
    board = facts.jetson or {}
    brought = brought_by(board["jetpack"] or "")
    return [
        _release(board, brought),
        _module(board),
        _power(board),
        _clocks(facts),
        *_python(facts, brought),
        *_tensorrt(facts, board, brought),
        *_pip_tensorrt(facts, board),
        *_cuda(facts, brought),
        *_open_cv(facts),
        *_numpy(facts, brought),
    ]


def _release(board: dict[str, Any], brought: Brought | None) -> Finding:
    jetpack, linux = board["jetpack"], f"Jetson Linux {board['l4t']}"
    if board["l4t"] is None:
        what = "a Jetson without /etc/nv_tegra_release and nvidia-l4t-core: its JetPack is not known"
        return Finding(WARNING, what)
    if brought is not None:
        brings = f"TensorRT {brought.tensorrt}, CUDA {brought.cuda}, Python {brought.python}, NumPy {brought.numpy}"
        return Finding(OK, f"JetPack {jetpack} ({linux}); it brings {brings}")
    if jetpack is not None and version_numbers(jetpack) < version_numbers(OLDEST)[:1]:
        return Finding(PROBLEM, f"JetPack {jetpack} ({linux}) is older than {OLDEST}", _NEWER_JETPACK)
    what = f"{linux} is not known to edgefsa, which knows JetPack {OLDEST} to {NEWEST}; it is judged by its packages"
    return Finding(WARNING, what)


def _module(board: dict[str, Any]) -> Finding:
    capability = f"compute capability {board['compute_capability'] or 'unknown'}"
    if board["module"] is None:
        named = board["module_id"] or "none"
        what = f"module id {named} of {board['model'] or 'this board'} is not known to edgefsa; {capability} by its SoC"
        return Finding(WARNING, what)
    dla = f"{board['dla_cores']} DLA cores, which edgefsa does not use" if board["dla_cores"] else "no DLA"
    return Finding(OK, f"{board['module']} ({board['module_id']}), {capability}, {dla}")


def _power(board: dict[str, Any]) -> Finding:
    mode, modes = board["power_mode"], board["power_modes"]
    if mode is None:
        return Finding(WARNING, "nvpmodel does not say the power mode; figures of this board cannot name it")
    unlimited = next((name for name in modes if name.startswith("MAXN")), None)
    if unlimited is None or mode == unlimited:
        return Finding(OK, f"power mode {mode}, of {', '.join(modes) or 'modes that cannot be read'}")
    what = f"power mode {mode}, of {', '.join(modes)}: {unlimited} has no power budget"
    return Finding(WARNING, what, f"sudo nvpmodel -m {modes[unlimited]}")


def _clocks(facts: Facts) -> Finding:
    clock = facts.gpu_clock or {}
    now, low, high = (clock.get(name) for name in ("clock_mhz", "clock_min_mhz", "clock_max_mhz"))
    if now is None or low is None or high is None:
        return Finding(WARNING, "the GPU's clock cannot be read")
    if low == high:
        return Finding(OK, f"the GPU's clock is held at {now:g} MHz")
    return Finding(OK, f"the GPU's clock goes with the load, {low:g} to {high:g} MHz; sudo jetson_clocks holds it")


def _python(facts: Facts, brought: Brought | None) -> list[Finding]:
    here, found = facts.environment, []
    if brought is not None and here.version != brought.python:
        what = f"Python {here.version} runs, and JetPack's TensorRT and OpenCV are for {brought.python}"
        found.append(Finding(PROBLEM, what, f"python{brought.python} -m venv --system-site-packages VENV"))
    if not here.sees_system:
        what = "this virtual environment does not see JetPack's TensorRT and OpenCV"
        found.append(Finding(PROBLEM, what, "python3 -m venv --clear --system-site-packages VENV"))
    return found or [Finding(OK, f"Python {here.version}, which sees JetPack's packages")]


def _tensorrt(facts: Facts, board: dict[str, Any], brought: Brought | None) -> list[Finding]:
    packages = [facts.debian[name] for name in sorted(facts.debian) if name.startswith("libnvinfer")]
    if not packages:
        return [Finding(PROBLEM, "JetPack's TensorRT is not installed", _COMPUTE_STACK)]
    numbers = max(version_numbers(version) for version in packages)
    version = ".".join(map(str, numbers))
    if numbers < OLDEST_TENSORRT:
        wanted = ".".join(map(str, OLDEST_TENSORRT))
        return [Finding(PROBLEM, f"TensorRT {version} is older than {wanted}, which edgefsa needs", _NEWER_JETPACK)]
    found = [Finding(OK, f"TensorRT {version}")]
    if brought is not None and numbers[:2] != version_numbers(brought.tensorrt):
        found = [_other_tensorrt(version, board, brought)]
    if "python3-libnvinfer" not in facts.debian:
        what = "TensorRT's Python bindings are not installed"
        found.append(Finding(PROBLEM, what, "sudo apt install python3-libnvinfer"))
    return [*found, *_newer_tensorrt(numbers, board)]


def _other_tensorrt(version: str, board: dict[str, Any], brought: Brought) -> Finding:
    added, modules = ADDED_TENSORRT.get(board["jetpack"], ("", ()))
    if added and version.startswith(added) and any(name in str(board["module"]) for name in modules):
        return Finding(OK, f"TensorRT {version}, added to JetPack {board['jetpack']}")
    what = f"TensorRT {version} is installed, and JetPack {board['jetpack']} brings {brought.tensorrt}"
    return Finding(WARNING, f"{what}: whether they go together on this module is not known")


def _newer_tensorrt(installed: tuple[int, ...], board: dict[str, Any]) -> list[Finding]:
    """Say what is known of a TensorRT that can be added to this JetPack, where it is not there already."""
    added, modules = ADDED_TENSORRT.get(board["jetpack"], ("", ()))
    if not added or installed >= version_numbers(added):
        return []
    if any(name in str(board["module"]) for name in modules):
        return [Finding(OK, f"NVIDIA offers TensorRT {added} for JetPack {board['jetpack']} on this module")]
    named = " and ".join(modules)
    what = f"NVIDIA offers TensorRT {added} for JetPack {board['jetpack']} and names {named}: of this module nothing is"
    return [Finding(OK, f"{what} known")]


def _pip_tensorrt(facts: Facts, board: dict[str, Any]) -> list[Finding]:
    over = facts.by_pip(TENSORRT_PACKAGES)
    if not over:
        return []
    level = PROBLEM if str(board["jetpack"]).startswith("6") else WARNING
    named = ", ".join(f"{item.name} {item.version}" for item in over)
    why = "it is not made for JetPack 6" if level == PROBLEM else "engines of the one are refused by the other"
    what = f"pip's {named} is imported in place of JetPack's TensorRT: {why}"
    return [Finding(level, what, uninstall(item.name for item in over))]


def _cuda(facts: Facts, brought: Brought | None) -> list[Finding]:
    found, bindings = [], facts.first("cuda-bindings")
    if bindings is None and facts.first("pycuda") is None:
        mend = "python -m pip install 'edgefsa[jetson]'"
        found.append(Finding(PROBLEM, "neither cuda-bindings nor pycuda is installed", mend))
    if bindings is not None and brought is not None:
        major = version_numbers(brought.cuda)[0]
        if version_numbers(bindings.version)[0] > major:
            what = f"cuda-bindings {bindings.version} is for a newer CUDA than JetPack's {brought.cuda}"
            mend = f"python -m pip install 'cuda-bindings>={major},<{major + 1}'"
            found.append(Finding(PROBLEM, what, mend))
    toolkits = [name for name in facts.debian if name.startswith("cuda-toolkit-")]
    if not toolkits:
        package = f"cuda-toolkit-{brought.cuda.replace('.', '-')}" if brought else "nvidia-jetpack"
        what = "the CUDA toolkit is not installed: the plugins cannot be built here"
        return [*found, Finding(WARNING, what, f"sudo apt install {package}")]
    driver = "" if facts.driver_cuda is None else ", and a driver for CUDA {}.{}".format(*facts.driver_cuda)
    return [*found, Finding(OK, f"CUDA toolkit {', '.join(facts.debian[name] for name in toolkits)}{driver}")]


def _open_cv(facts: Facts) -> list[Finding]:
    found, over = facts.opencv, facts.by_pip(OPENCV_PACKAGES)
    csi = [camera.device for camera in facts.cameras if camera.kind == "csi"]
    if found.error is not None:
        numpy = facts.first("numpy")
        if numpy is not None and version_numbers(numpy.version) >= (2,):
            return []  # it is said of NumPy, which is what to mend
        if not facts.environment.sees_system and not over:
            return []  # and of the environment
        mend = uninstall(item.name for item in over) if over else "sudo apt install --reinstall libopencv-python"
        return [Finding(PROBLEM, f"cv2 cannot be imported: {found.error}", mend)]
    if found.by == "pip":
        what = f"pip's OpenCV {found.version} is imported in place of JetPack's"
        what += "" if found.gstreamer else ", and has no GStreamer"
        what += f": {', '.join(csi)} (CSI) cannot be read by it" if csi and not found.gstreamer else ""
        return [Finding(PROBLEM if csi else WARNING, what, uninstall(item.name for item in over))]
    name = {"jetpack": "JetPack's", "apt": "Ubuntu's"}.get(found.by, "a self-built")
    if not found.gstreamer:
        mend = "sudo apt install libopencv-python"
        return [Finding(PROBLEM if csi else WARNING, f"{name} OpenCV {found.version} has no GStreamer", mend)]
    return [Finding(OK, f"{name} OpenCV {found.version} with GStreamer")]


def _numpy(facts: Facts, brought: Brought | None) -> list[Finding]:
    """Judge NumPy: a module that was compiled for NumPy 1 cannot be imported under NumPy 2."""
    here = facts.first("numpy")
    built_for = facts.debian.get("python3-numpy") or (brought.numpy if brought else "")
    if here is None or not built_for:
        return []
    short = ".".join(map(str, version_numbers(built_for)[:2]))
    if version_numbers(here.version)[0] == version_numbers(built_for)[0]:
        return [Finding(OK, f"NumPy {here.version}, which goes with JetPack's modules (made for {short})")]
    if facts.opencv.error is None and facts.opencv.by != "pip":
        return [Finding(OK, f"NumPy {here.version}, under which {facts.opencv.path} can be imported")]
    systems = any(item.name.lower() == "numpy" and item.by == "apt" for item in facts.python)
    mend = uninstall(["numpy"]) if systems else f"python -m pip install 'numpy<{version_numbers(built_for)[0] + 1}'"
    what = f"NumPy {here.version} is imported, and JetPack's modules are made for {short}"
    if facts.opencv.error is not None:
        return [Finding(PROBLEM, f"{what}: cv2 cannot be imported ({facts.opencv.error})", mend)]
    return [Finding(WARNING, f"{what}: such a module cannot be imported under it", mend)]
