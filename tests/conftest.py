from __future__ import annotations

import torch
from hypothesis import settings

torch.set_num_threads(1)  # the tests run side by side
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")
