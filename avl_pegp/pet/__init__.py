"""Parameter-efficient tuning modules for vision transformers and CLIP. Needs torch only."""

from avl_pegp.pet.adapter import Adapter, LinearAdapter
from avl_pegp.pet.attach import Attachment, attach, attachment_of
from avl_pegp.pet.context import Context
from avl_pegp.pet.lora import LoRA
from avl_pegp.pet.pets import PETS
from avl_pegp.pet.prefix import Prefix
from avl_pegp.pet.prompt import Prompt
from avl_pegp.pet.restart import Rebasable
from avl_pegp.pet.saving import load_pet, save_pet
from avl_pegp.pet.trainable import freeze, pet_parameters, trainable_tensors

__all__ = [
    "PETS",
    "Adapter",
    "Attachment",
    "Context",
    "LinearAdapter",
    "LoRA",
    "Prefix",
    "Prompt",
    "Rebasable",
    "attach",
    "attachment_of",
    "freeze",
    "load_pet",
    "pet_parameters",
    "save_pet",
    "trainable_tensors",
]
