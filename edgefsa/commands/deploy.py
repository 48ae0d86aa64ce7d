"""The command about this machine: doctor."""

from __future__ import annotations

from edgefsa import console
from edgefsa.commands.options import JsonFlag


def doctor(json: JsonFlag = False) -> None:
    """Say what this machine can do: usable targets or why not, versions, CPU features, GPU, Jetson.

    Example: edgefsa doctor
    """
    from edgefsa.deploy.doctor import doctor as examine
    from edgefsa.deploy.doctor import doctor_text

    result = examine()
    console.emit(result, as_json=json, text=doctor_text(result))
