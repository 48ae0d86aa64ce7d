"""What a machine can do with engines."""

from __future__ import annotations

from edgefsa.deploy.doctor import doctor, doctor_text

__all__ = ["doctor", "doctor_text"]
