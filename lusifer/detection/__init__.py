"""The language of a text, among the fourteen."""

from lusifer.detection.detect import SAMPLE, Detection, detect

__all__ = ["SAMPLE", "Detection", "detect"]
