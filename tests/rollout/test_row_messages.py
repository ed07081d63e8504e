# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The forms in which a data row names its pictures, and the sizes that it asks for."""

from __future__ import annotations

import base64
import pickle
import random
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from qwen_vl_utils import fetch_image
from support.pictures import data_uri, encoded

from verl_mapo.rollout.decode import UnreadableImage
from verl_mapo.rollout.row_messages import ROLES, check_marks, medium_of, normal_form, text_form
from verl_mapo.rollout.row_pictures import (
    LONGEST_REFERENCE,
    AskedSize,
    Picture,
    content_reference,
    image_reference,
    is_filled,
    shorten,
    source_of,
    unread_keys,
)

RED = encoded(Image.new("RGB", (40, 30), "red"))


@pytest.fixture
def red(tmp_path) -> str:
    path = tmp_path / "red.png"
    path.write_bytes(RED)
    return str(path)


def every_form(path: str) -> list[dict]:
    """One picture as the parts of public data sets."""
    uri, image = data_uri(RED), Image.open(path)
    return [
        {"type": "image", "image": path},
        {"type": "image", "image": f"file://{path}"},
        {"type": "image", "image": Path(path)},
        {"type": "image", "image": uri},
        {"type": "image", "image": uri.replace("image/png", "image")},
        {"type": "image", "image": uri.replace(";", ";charset=utf-8;")},
        {"type": "image", "image": uri.replace(";", ';name="a,b.png"; ')},
        {"type": "image", "image": f"data:image/png;base64,{base64.urlsafe_b64encode(RED).decode()}"},
        {"type": "image", "image": base64.b64encode(RED).decode()},
        {"type": "image", "image": base64.encodebytes(RED).decode()},
        {"type": "image", "image": RED},
        {"type": "image", "image": bytearray(RED)},
        {"type": "image", "image": image},
        {"type": "image", "bytes": RED, "path": None},
        {"type": "image", "bytes": RED, "path": "name-in-an-archive.png"},
        {"type": "image", "bytes": RED, "image": None, "image_url": None},
        {"type": "image", "bytes": None, "path": path},
        {"type": "image", "image": {"bytes": RED, "path": None}},
        {"type": "image", "image": {"bytes": None, "path": path}},
        {"type": "image", "image_url": path},
        {"type": "image_url", "image_url": {"url": path}},
        {"type": "image_url", "image_url": {"url": uri, "detail": "high"}},
        {"type": "input_image", "image_url": uri},
        {"image": path},
        {"image_url": uri, "text": None},
        {"type": None, "image": path},
    ]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=3), st.integers(0, 9), st.sampled_from(["image", "video"]))
def test_marks_are_compared_with_the_entries_of_their_column(marks, listed, medium):
    messages = [{"role": "user", "content": f"<{medium}>" * number + "what?"} for number in marks]
    messages += [{"role": "user", "content": [{"type": "text", "text": f"<{medium}>"}]}, None]
    if listed == sum(marks):
        check_marks(messages, {medium: listed, "audio": 0})
        return
    with pytest.raises(UnreadableImage, match=f"has {sum(marks)} x <{medium}>, and its column .* has {listed};"):
        check_marks(messages, {medium: listed, "audio": 0})


def test_every_form_of_a_picture_is_shown(red):
    for part in every_form(red):
        messages, (picture,) = normal_form([{"role": "user", "content": [part, {"type": "text", "text": "q"}]}])
        assert messages == [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "q"}]}]
        shown = picture.pixels()
        assert shown.size == (40, 30) and shown.getpixel((5, 5)) == (255, 0, 0)
        assert len(picture.reference) <= LONGEST_REFERENCE and ";base64," not in picture.reference


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_base64_of_every_file_format_is_a_picture(form):
    """Bare, and in a data URI in the plain and the URL-safe alphabet."""
    content = encoded(Image.effect_noise((40, 30), 90).convert("RGB"), form)
    plain, safe = (encode(content).decode() for encode in (base64.b64encode, base64.urlsafe_b64encode))
    for source in (plain, f"data:image/{form.lower()};base64,{plain}", f"data:;base64,{safe}"):
        assert Picture(source).pixels().size == (40, 30)


def test_reference_is_the_path_or_a_hash_of_the_content(red):
    references = {Picture.of(part).reference for part in every_form(red)}
    decoded = Picture(Image.open(red)).reference
    assert references == {red, f"file://{red}", content_reference(RED), decoded}
    other = encoded(Image.new("RGB", (40, 30), "blue"))
    assert Picture(other).reference != Picture(RED).reference == Picture(data_uri(RED)).reference
    assert Picture(Image.new("RGB", (40, 30), "blue")).reference != decoded == Picture(Image.open(red)).reference


def test_empty_keys_of_arrow_are_no_pictures_and_no_texts():
    parts = [
        {"type": "text", "text": "one ", "image": None, "video": None, "max_pixels": float("nan")},
        {"type": "image", "text": None, "image": RED, "max_pixels": None, "min_pixels": float("nan")},
        {"type": "text", "text": None, "image": None},
        {"type": None, "text": "two", "image": ""},
        {"type": "text", "text": None, "image_url": {"url": None, "detail": None}, "video_url": {"url": None}},
        "three",
    ]
    messages = [
        {"role": "system", "content": None, "tool_calls": None},
        {"role": "user", "content": parts, "name": None},
    ]
    plain, pictures = normal_form(messages)
    assert plain[0] == {"role": "system", "content": ""}
    texts = [{"type": "text", "text": text} for text in ("one ", "", "two", "", "three")]
    assert plain[1] == {"role": "user", "content": [texts[0], {"type": "image"}, *texts[1:]]}
    assert [picture.asked for picture in pictures] == [AskedSize()]
    assert text_form(messages)[1] == {"role": "user", "content": "one twothree"}
    assert messages[1]["content"] is parts, "the row is not changed"


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ({"type": "video", "video": "a.mp4"}, "it holds video, and the visual tools work on texts and images only"),
        ({"video": ["a.png", "b.png"]}, "it holds video"),
        ({"type": "text", "text": "what?", "video": "a.mp4"}, "it holds video"),
        ({"type": "video_url", "video_url": {"url": "a.mp4"}}, "it holds video"),
        ({"type": "input_audio", "input_audio": {}}, "it holds audio"),
        (
            {"type": "document", "path": "a.pdf"},
            "it holds a part of type 'document'; a part of a message is a text or an",
        ),
        ({"type": 3, "text": "what?"}, "it holds a part of type 3"),
        ({"type": "text", "text": "what?", "image": "a.png"}, "it holds a part with both a text and an image"),
        ({"text": "what?", "bytes": RED}, "a part with both a text and an image"),
        ({"type": "image", "image": "a.png", "text": "what?"}, "a part with both a text and an image"),
        ({"type": "text", "text": 5}, r"it holds a part whose text is a number \(5\)"),
        ({"type": "text", "text": ["what?"]}, r"a part whose text is a list \(\['what\?'\]\)"),
        ({"type": None, "text": None}, "it holds a part without a text or an image"),
        ({"type": "text", "content": "what?"}, "it holds a part of type 'text' with content and without text"),
        (
            {"type": "input_text", "text": None, "input_text": "what?"},
            "type 'input_text' with input_text",
        ),
        (7, r"it holds a number \(7\); a part of a message is"),
        (None, "it holds nothing;"),
        (["what?"], r"it holds a list \(\['what\?'\]\)"),
        (RED, "it holds bytes"),
        (Image.new("RGB", (3, 3)), "it holds a value of type Image"),
        ({"type": "image"}, "is empty"),
        ({"type": "image", "image": None, "bytes": None, "path": ""}, "is empty"),
        ({"type": "image", "image": b""}, "is empty"),
        ({"type": "image", "image": 7}, "is given as int"),
        ({"type": "image", "image": ["a.png"]}, "is given as list"),
        ({"type": "image", "image": "https://example.org/a.png"}, "is on a server"),
        ({"type": "image_url", "image_url": {"url": "HTTP://example.org/a.png"}}, "is on a server"),
        ({"type": "image", "image": "s3://bucket/a.png"}, "is on a server"),
        ({"type": "image", "image": "a.png", "min_pixels": 9, "max_pixels": 8}, "a.png: its min_pixels=9 is above"),
        ({"type": "image", "image": "a.png", "resized_height": 9}, "only one of resized_height"),
        ({"type": "image", "image": "a.png", "resized_height": 9, "resized_width": 9000}, "a ratio over 200"),
        ({"type": "image", "image": "a.png", "max_pixels": "many"}, "its max_pixels is 'many'"),
        ({"type": "image", "image": "a.png", "max_pixels": 0}, "its max_pixels is 0"),
        ({"type": "image", "image": "a.png", "max_pixels": 1.5}, "its max_pixels is 1.5"),
        ({"type": "image", "image": "a.png", "max_pixels": float("inf")}, "its max_pixels is inf"),
        ({"type": "image", "image": "a.png", "max_pixels": True}, "its max_pixels is True"),
    ],
)
def test_part_that_cannot_be_shown_is_named(part, sentence):
    with pytest.raises(UnreadableImage, match=sentence):
        normal_form([{"role": "user", "content": [part]}])


def test_image_in_a_system_message_is_refused():
    with pytest.raises(UnreadableImage, match="in its system message"):
        normal_form([{"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "image", "image": RED}]}])


@pytest.mark.parametrize("uri", ["data:image/png;base64", "data:image/png;base64,abc", "data:image/png;base64,\ud83d"])
def test_damaged_data_uri_is_unreadable_and_has_a_reference(uri):
    picture = Picture(uri + "x" * 9000 if uri.endswith("64") else uri)
    with pytest.raises(UnreadableImage, match="data URI is damaged"):
        picture.pixels()
    assert picture.reference.startswith("sha256:") and len(picture.reference) < 50


def test_decoded_image_that_breaks_when_it_is_used_is_unreadable():
    truncated = encoded(Image.effect_noise((64, 64), 90).convert("RGB"), "JPEG")[:900]
    picture = Picture(Image.open(BytesIO(truncated)))
    assert picture.reference == content_reference(truncated)
    with pytest.raises(UnreadableImage, match="truncated"):
        picture.pixels()


def palette_picture(*transparent: int) -> Image.Image:
    """Two red pixels, some of which are transparent."""
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 255, 0, 0])
    image.putdata([0, 1])
    return Image.open(BytesIO(encoded(image, transparency=bytes(0 if i in transparent else 255 for i in range(2)))))


def noise(kind: str, mode: str, **options) -> bytes:
    image = Image.effect_noise((64, 64), 90)
    return encoded(image.quantize(16) if mode == "P" else image.convert(mode), kind, **options)


def test_reference_of_a_decoded_image_tells_pictures_apart_and_does_not_depend_on_their_state():
    turned = Image.Exif()
    turned[0x112] = 6
    plain = Image.new("RGB", (4, 4), "red")
    contents = [
        *(noise("PNG", mode) for mode in ("RGB", "RGBA", "L", "LA", "P")),
        *(noise("GIF", "P"), noise("TIFF", "RGB"), noise("WEBP", "RGB"), noise("PNG", "P", transparency=3)),
        *(encoded(plain, "JPEG", exif=turned), encoded(plain, "JPEG")),
        noise("PNG", "RGB")[:-900],
        noise("JPEG", "RGB")[:-900],
    ]
    images = [lambda c=content: Image.open(BytesIO(c)) for content in contents]
    images += [lambda places=places: palette_picture(*places) for places in ((), (0,), (1,), (0, 1))]
    references = set()
    for opened in images:
        image = opened()
        reference = image_reference(image)
        assert reference == image_reference(image) == image_reference(opened()) == Picture(image).reference
        with suppress(OSError):
            image.load()
            assert image_reference(image) == image_reference(pickle.loads(pickle.dumps(image))) == reference
        references.add(reference)
    assert len(references) == len(images) and all(reference.startswith("sha256:") for reference in references)


def test_long_text_is_shortened_to_its_beginning_and_a_hash():
    long = "/folder/" * 1000
    assert shorten("a" * LONGEST_REFERENCE) == "a" * LONGEST_REFERENCE
    assert shorten(long).startswith(long[:60]) and len(shorten(long)) < 200 and "8000 characters" in shorten(long)
    assert shorten(long) != shorten(long + "x") and "sha256" in shorten("\ud83d" * 1000)
    with pytest.raises(UnreadableImage) as error:
        Picture.of({"image": "https://" + long})
    assert len(str(error.value)) < 400


def test_kinds_of_parts():
    assert medium_of({"text": "a", "image": None}) == medium_of("a") == medium_of({"text": ""}) == "text"
    assert medium_of({"image": "a.png", "text": ""}) == medium_of({"type": "text", "image": "a.png"}) == "image"


EMPTY = [None, "", b"", float("nan"), {}, [], {"url": None}, {"a": {"b": None, "c": ""}}, [None], [{"url": ""}]]


@pytest.mark.parametrize("empty", EMPTY, ids=repr)
def test_struct_of_empty_keys_is_as_empty_as_a_key_that_is_missing(empty):
    assert not is_filled(empty) and unread_keys({"type": "text", "source": empty}) == []
    for part in ({"type": "text"}, {"text": "what?"}, {"image": "a.png"}, {"type": "image"}, {"type": "video"}, {}):
        for key in (
            "video_url",
            "audio",
            "image_url",
            "source",
            *(["text"] if "text" not in part and empty != "" else []),
        ):
            assert medium_of({**part, key: empty}) == medium_of(part), f"{part} with {key}"
    assert medium_of({"image": "a.png", "text": empty}) == medium_of({"type": "image", "text": empty}) == "image"


@pytest.mark.parametrize("filled", ["a", b"a", 0, False, 1.5, {"url": "a"}, {"a": {"b": None, "c": 0}}, [None, "a"]])
def test_struct_with_one_filled_key_is_filled(filled):
    assert is_filled(filled) and unread_keys({"type": "text", "max_pixels": 9, "source": filled}) == ["source"]
    assert medium_of({"type": "text", "text": "what?", "video_url": filled}) == "video"


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        (None, "its prompt is nothing; it should be a list of messages"),
        ("what?", r"its prompt is a text \('what\?'\); it should be a list"),
        ({"role": "user", "content": "what?"}, "its prompt is a dict"),
        (7, r"its prompt is a number \(7\)"),
        ([], "its prompt is an empty list"),
        (["what?"], r"its prompt holds a text \('what\?'\) in the place of a message"),
        ([[{"role": "user", "content": "what?"}]], "its prompt holds a list"),
        ([None], "its prompt holds nothing in the place of a message"),
        ([{"content": "what?"}], "whose role is nothing; the roles are system, user, assistant, tool"),
        ([{"from": "human", "value": "what?"}], "whose role is nothing"),
        ([{"role": "human", "content": "what?"}], r"whose role is a text \('human'\)"),
        ([{"role": ["user"], "content": "what?"}], "whose role is a list"),
        ([{"role": "user", "value": "what?"}], "a message of role user without content"),
        ([{"role": "user", "content": None}], "a message of role user without content"),
        ([{"role": "user", "content": {"type": "text", "text": "what?"}}], "whose content is a dict"),
        ([{"role": "user", "content": b"what?"}], r"whose content is bytes \(b'what\?'\)"),
        ([{"role": "user", "content": 7}], r"whose content is a number \(7\)"),
    ],
)
def test_messages_in_another_form_are_refused_in_a_sentence_and_have_a_text_form(messages, sentence):
    with pytest.raises(UnreadableImage, match=sentence):
        normal_form(messages)
    for message in text_form(messages):
        assert message["role"] in ROLES and isinstance(message["content"], str)


def test_plain_strings_and_missing_contents_of_the_system_are_read():
    messages, pictures = normal_form(({"role": "system"} | {"content": None}, {"role": "user", "content": ("a", "b")}))
    assert [message["content"] for message in messages] == ["", [{"type": "text", "text": text} for text in "ab"]]
    assert not pictures


VALUES = [None, float("nan"), "", "what?", "a.png", data_uri(RED), RED, b"", 7, 1.5, True, {}, [], ["a.png"]]
VALUES += [{"url": "a.png"}, {"bytes": RED, "path": None}, {"bytes": None, "path": None}, {"text": "x"}]
KEYS = ["text", "image", "image_url", "bytes", "path", "url", "video", "audio_url", "max_pixels", "detail"]
TYPES = [None, "", "text", "input_text", "image", "image_url", "input_image", "video", "Image", "tool_use", 3, ["text"]]


def random_part(rng: random.Random) -> object:
    if rng.random() < 0.1:
        return rng.choice(VALUES)
    part = {key: rng.choice(VALUES) for key in rng.sample(KEYS, rng.randint(0, 3))}
    return part | ({"type": rng.choice(TYPES)} if rng.random() < 0.7 else {})


def test_no_part_loses_a_picture_or_a_text_in_silence():
    rng, shown = random.Random(0), 0
    for _ in range(20_000):
        part = random_part(rng)
        try:
            (message,), pictures = normal_form([{"role": "user", "content": [part]}])
        except UnreadableImage as error:
            assert len(str(error)) < 700
            continue
        held = isinstance(part, dict) and source_of(part) is not None
        text = part if isinstance(part, str) else part.get("text")
        assert len(pictures) == held and message["content"] == [
            {"type": "image"} if held else {"type": "text", "text": text if isinstance(text, str) else ""}
        ]
        shown += held
    assert shown > 500


def test_no_messages_raise_anything_else():
    rng = random.Random(0)
    for _ in range(5_000):
        message = {"role": rng.choice(["user", "user", "system", "assistant", "human", None, 3, ["user"]])}
        message["content"] = rng.choice([*VALUES, [random_part(rng)], [[random_part(rng)]]])
        if rng.random() < 0.2:
            del message[rng.choice(["role", "content"])]
        prompt = rng.choice([[message], [message, message], message, [[message]], rng.choice(VALUES), [None]])
        with suppress(UnreadableImage):
            normal_form(prompt)
        assert all(each["role"] in ROLES and isinstance(each["content"], str) for each in text_form(prompt))


@pytest.mark.parametrize("token_side", [28, 32])
def test_asked_size_is_that_of_qwen_vl_utils(token_side):
    rng = random.Random(0)
    checked = 0
    for _ in range(150):
        size = rng.randrange(30, 700), rng.randrange(30, 700)
        few, many = sorted(round(10 ** rng.uniform(3.8, 5.8)) for _ in range(2))
        keys = rng.choice(
            [
                {"max_pixels": many},
                {"min_pixels": few},
                {"min_pixels": few, "max_pixels": many},
                {"resized_height": rng.randrange(30, 500), "resized_width": rng.randrange(30, 500)},
            ]
        )
        stock = fetch_image({"image": Image.new("RGB", size), **keys}, image_patch_size=token_side // 2)
        assert AskedSize.of(keys)(size, token_side) == stock.size
        checked += stock.size != size
    assert checked > 100
    assert AskedSize()((40, 30), token_side) == (40, 30)


def test_limit_beyond_the_other_limits_default_replaces_it():
    """qwen_vl_utils stops with an assertion there."""
    assert AskedSize(max_pixels=1000)((280, 280), 28) == (28, 28)
    width, height = AskedSize(min_pixels=20_000_000)((280, 280), 28)
    assert width * height >= 20_000_000
