"""Figures as images for Avalanche's loggers."""

from __future__ import annotations

import numpy as np
import torch
from avalanche.evaluation.metric_results import TensorImage
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def as_image(figure: Figure, dpi: int = 80) -> TensorImage:
    """The figure's pixels: what TensorBoard shows, and what loggers of text leave out.

    Args:
        figure: from matplotlib; it is drawn, not shown.
        dpi: pixels an inch.

    Returns:
        An image ``(3, height, width)``, uint8.

    Example:
        >>> tuple(as_image(Figure(figsize=(2, 1))).image.shape)
        (3, 80, 160)
    """
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return TensorImage(torch.from_numpy(pixels).permute(2, 0, 1))
