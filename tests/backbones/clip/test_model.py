"""A CLIP as a classifier: its answers, its classes, and what it refuses."""

from __future__ import annotations

import copy

import pytest
import torch
from clip_forms import FORMS, IMAGES, stirred
from clips import NAMES, pictures, small_clip
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD, SimpleTokenizer
from torch.nn import functional as F
from torchvision.transforms.functional import normalize

from avl_pegp.backbones.clip import CLIPClassifier
from avl_pegp.pet import Context, LoRA, attach, trainable_tensors

MANY = pictures(9, seed=1)
NORMS = [((0.5,) * 3, (0.5,) * 3), (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)]
NOISE = ((MANY + 1) * 127.5).round()
EIGHT_BIT = {  # pixels as files have them
    "photos": NOISE,
    "bright photos": (NOISE / 2 + 128).floor(),
    "drawing": NOISE[:1].where(NOISE[:1] > 200, 0.0),
    "one plain colour": torch.tensor([51.0, 102.0, 0.0]).view(1, 3, 1, 1).expand(2, 3, 32, 32),
    "black and white": 255 * (NOISE > 99),
}
BOTH = (LoRA(2), LoRA(2, tower="text"))


def tuned(*pets):
    model = small_clip()
    attach(model, *(pets or BOTH))
    return stirred(model)


@torch.no_grad()
@pytest.mark.parametrize("bias", [None, -3.0])
@pytest.mark.parametrize("form", FORMS)
def test_logits_are_open_clips_for_the_prompts(form, bias):
    model = FORMS[form]()
    if bias is not None:
        model.clip.logit_bias = torch.nn.Parameter(torch.tensor(bias, dtype=torch.float64))
    tokens = SimpleTokenizer(context_length=16)([f"a photo of a {name}." for name in NAMES])
    expected, _ = model.clip.get_logits(MANY, tokens)
    torch.testing.assert_close(model(MANY), expected, rtol=0, atol=1e-10)


@torch.no_grad()
def test_an_answer_depends_on_its_image_alone():
    model = tuned()
    together = model(MANY)
    order = torch.tensor([4, 0, 8, 3, 1, 2, 7, 6, 5])
    for size in (1, 2, 4, 9):
        answers = torch.cat([model(part) for part in MANY[order].split(size)])
        torch.testing.assert_close(answers, together[order], rtol=0, atol=1e-12)
        assert torch.equal(answers.argmax(dim=1), together[order].argmax(dim=1))


@torch.no_grad()
def test_new_classes_need_no_parameters_and_leave_the_others_logits():
    model = small_clip()
    before, names = model(MANY), {name for name, _ in model.named_parameters()}
    model.set_classes((*NAMES, "a grey wolf"))
    assert model.class_names[-1] == "a grey wolf"
    assert {name for name, _ in model.named_parameters()} == names
    torch.testing.assert_close(model(MANY)[:, :-1], before, rtol=0, atol=1e-12)
    model.set_classes(NAMES[::-1])
    torch.testing.assert_close(model(MANY), before.flip(1), rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_name_with_braces_is_taken_as_it_is():
    model = small_clip(class_names=("fox", "{}"), template="{{}} of")
    expected = model.encode_text(["{fox} of", "{{}} of"])
    torch.testing.assert_close(model.encode_classes(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("grad", [True, False])
def test_only_some_classes_compete_inside_the_block(grad):
    model, logits = tuned(), tuned()(MANY)
    with torch.set_grad_enabled(grad), model.only({4, 1}):
        some = model(MANY)
        with model.only([2]):
            assert (model(MANY) > -torch.inf).nonzero()[:, 1].unique().tolist() == [2]
        assert torch.equal(model(MANY), some)  # the outer block counts again
    assert (some[:, [0, 2, 3, 5]] == -torch.inf).all()
    torch.testing.assert_close(some[:, [1, 4]], logits[:, [1, 4]], rtol=0, atol=1e-12)
    assert some.requires_grad is grad
    torch.testing.assert_close(model(MANY), logits, rtol=0, atol=1e-12)


def test_only_is_over_also_after_an_error_and_a_loss_within_it_has_finite_gradients():
    model = tuned()
    with pytest.raises(ZeroDivisionError), model.only([0, 1]):
        loss = F.cross_entropy(model(MANY), torch.tensor([0, 1] * 4 + [0]))
        loss.backward()
        raise ZeroDivisionError
    assert model(MANY).isfinite().all()
    assert all(p.grad.isfinite().all() for p in trainable_tensors(model).values())


def test_only_none_is_all_classes_encoded_anew():
    model, calls = tuned(), []
    with torch.no_grad():
        before = model(MANY)
        model.clip.transformer.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
        with model.only(None):
            assert torch.equal(model(MANY), before)
    assert calls == [len(NAMES)]


def test_prompts_are_tokenised_when_their_words_change_and_in_no_training_step():
    calls = []

    class Counted(SimpleTokenizer):
        def __call__(self, texts):
            calls.append(texts)
            return super().__call__(texts)

    model = CLIPClassifier(small_clip().clip, Counted(context_length=16), NAMES, "a {}.")
    attach(model, LoRA(2, tower="text"), Context(3))
    for change in (lambda: None, lambda: model.settle_context([0])):
        change()
        for _ in range(3):
            model(MANY).sum().backward()
            with model.only([1, 2]):
                model(MANY)
    assert calls == [[f"a {name}." for name in NAMES], [f"{name}." for name in NAMES]]
    model.set_classes(["red fox", "owl"])
    assert model(MANY).shape == (9, 2)
    assert calls[2:] == [["red fox.", "owl."]]


def test_there_is_no_classifier_to_train():
    assert list(small_clip().get_classifier().parameters()) == []


@pytest.mark.parametrize(
    ("pets", "trains"), [((LoRA(2),), False), (BOTH, True), ((Context(2),), True)]
)
def test_it_says_whether_it_trains_on_texts(pets, trains):
    assert tuned(*pets).trains_text is trains


def test_a_deep_copy_shares_the_tokenizer_alone():
    model = tuned()
    model.known = [model]  # as what is around a model may know it
    both = copy.deepcopy(torch.nn.ModuleList([model, model]))
    twin = both[0]
    assert both[1] is twin is not model
    assert twin.known[0] is twin
    assert twin.tokenizer is model.tokenizer
    memory = {p.data_ptr() for p in model.parameters()}
    assert memory.isdisjoint(p.data_ptr() for p in twin.parameters())
    before = model(MANY)
    assert torch.equal(twin(MANY), before)
    stirred(twin)
    twin.set_classes(NAMES[:2])
    assert not torch.allclose(twin(MANY), before[:, :2])
    assert torch.equal(model(MANY), before)


class TestBadInput:
    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ((), "class_names has nothing: must be texts, at least one"),
            (("fox", " ", "owl"), r"class_names has \[' '\]: .* none empty"),
            (("fox", "owl", "fox"), r"class_names has \['fox'\] more than once: must be distinct"),
            ("fox", "class_names='fox': must be a list of texts; put one alone into a list"),
            (None, "class_names=None: must be a list of texts"),
            (("fox", 1, 2), r"class_names has \[1, 2\]: must be texts"),
            (("fox", "o w l " * 5), "has 22 tokens with its start and end: .* at most 16"),
        ],
    )
    def test_names_are_refused_and_those_before_stay(self, names, message):
        model = small_clip()
        with pytest.raises(ValueError, match=message):
            model.set_classes(names)
        assert model.class_names == NAMES
        with pytest.raises(ValueError, match=message):
            small_clip(class_names=names)

    def test_names_that_the_model_reads_alike_are_refused_in_groups(self):
        learned = tuned(Context(4))
        learned.settle_context([0])  # a context of its own does not make a name another one
        for model in (small_clip(), learned):
            message = (
                r"has \[\['Fox', 'fox', ' fox'\], \['owl', 'OWL'\]\], which the model reads alike"
            )
            with pytest.raises(ValueError, match=message):
                model.set_classes(["Fox", "owl", "a fox", "fox", " fox", "OWL"])
            assert model.class_names == NAMES

    @pytest.mark.parametrize("template", ["a photo", "", "{} or {}", "a {name}", None])
    def test_a_template_without_one_place_for_the_name_is_refused(self, template):
        with pytest.raises(ValueError, match=r"template=.* must have one {} for the class name"):
            small_clip(template=template)

    @pytest.mark.parametrize("tokenizer", ["hf", 3])
    def test_a_tokenizer_that_is_no_function_is_refused(self, tokenizer):
        with pytest.raises(
            TypeError, match=f"tokenizer={tokenizer!r}: must be a function from a list"
        ):
            CLIPClassifier(small_clip().clip, tokenizer, NAMES, "a {}")

    def test_token_numbers_beyond_the_vocabulary_are_refused(self):
        model, message = small_clip(), "tokens has 49408: must be below 49408, .*the tokenizer that"
        beyond = torch.tensor([[49406, 49408, 49407]])
        with pytest.raises(ValueError, match=message):
            model.encode_tokens(beyond)
        with pytest.raises(ValueError, match=message):
            CLIPClassifier(model.clip, lambda texts: beyond, ["fox"], "a {}")
        with pytest.raises(ValueError, match=r"tokens \(0, 3\): must be \(T, N\) with T and N at"):
            model.encode_tokens(beyond[:0])

    def test_what_the_clip_lacks_is_named_itself(self):
        clip = small_clip().clip
        del clip.text_eos_id  # as in early versions of open_clip
        with pytest.raises(AttributeError, match="'CLIP' object has no attribute 'text_eos_id'"):
            CLIPClassifier(clip, SimpleTokenizer(), NAMES, "a {}")

    @pytest.mark.parametrize("classes", [[], [6], [0, -1]])
    def test_classes_without_a_name_are_refused(self, classes):
        model = small_clip()
        for call in (model.encode_classes, lambda c: model.only(c).__enter__()):
            with pytest.raises(
                ValueError, match="must be indices of the 6 class names, at least one"
            ):
                call(classes)
        assert model(IMAGES).isfinite().all()

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            (IMAGES[0], r"images \(3, 32, 32\) of torch.float64: must be floats \(B, 3, 32, 32\)"),
            (IMAGES[:0], r"images \(0, 3, 32, 32\) .* at least one"),
            (IMAGES[:, :1], r"images \(2, 1, 32, 32\)"),
            (IMAGES[..., :31], r"images \(2, 3, 32, 31\)"),
            ((IMAGES * 100).to(torch.uint8), "of torch.uint8: must be floats"),
            (IMAGES * 255, "images have pixels from .*: normalised ones lie between -1 and 1"),
            (IMAGES.clone().fill_(torch.nan), "images have pixels from nan to nan"),
        ],
    )
    def test_images_of_another_kind_are_refused(self, images, message):
        with pytest.raises(ValueError, match=message + ".*use the transforms of transforms_of"):
            small_clip()(images)

    @pytest.mark.parametrize("pixels", EIGHT_BIT)
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("norm", NORMS)
    def test_images_that_were_scaled_and_not_normalised_are_refused(self, norm, dtype, pixels):
        model = small_clip(dtype)
        mean, std = model.clip.visual.image_mean, model.clip.visual.image_std = norm
        scaled = EIGHT_BIT[pixels].to(dtype) / 255
        if pixels in ("photos", "bright photos", "drawing"):
            with pytest.raises(ValueError, match="to 1, all whole 255ths as ToTensor leaves"):
                model(scaled)
        else:  # no evidence
            assert model(scaled).isfinite().all()
        assert model(normalize(scaled, mean, std)).isfinite().all()

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
    def test_images_of_another_dtype_are_refused_unless_torch_casts_them(self, dtype):
        model, images = small_clip(torch.float32), IMAGES.to(dtype)
        with pytest.raises(
            ValueError, match=f"images of {dtype}: must be of torch.float32, as the"
        ):
            model(images)
        with torch.autocast("cpu", torch.bfloat16):
            assert model(IMAGES.half()).isfinite().all()
            with pytest.raises(
                ValueError, match="images of torch.float64: must be of torch.float32"
            ):
                model(IMAGES)

    def test_floats_between_0_and_1_are_not_refused(self):
        assert small_clip()(IMAGES.abs()).isfinite().all()

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            ("fox", "texts='fox': must be a list of texts; put one alone into a list"),
            ([], "texts has nothing: must be texts, at least one"),
            (["fox", "  "], r"texts has \['  '\]: .* none empty"),
        ],
    )
    def test_texts_that_are_no_list_of_words_are_refused(self, texts, message):
        with pytest.raises(ValueError, match=message):
            small_clip().encode_text(texts)

    def test_texts_that_are_too_long_are_refused(self):
        with pytest.raises(ValueError, match="at most 16 tokens"):
            small_clip().encode_text(["a photo " * 8])

    def test_a_model_without_a_text_tower_of_open_clip_is_refused(self):
        clip = small_clip(custom_text=True).clip
        clip.text = torch.nn.Identity()
        with pytest.raises(TypeError, match="Identity with pool_type=None as text tower"):
            CLIPClassifier(clip, SimpleTokenizer(), NAMES, "a {}")
