"""The page itself: a clip and a language in, an answer out, and nothing of the clip kept."""

import logging
import pathlib
import time
from collections.abc import Mapping

import gradio as gr
import numpy as np

from dstadapter_jax.app.decoder import Decoder
from dstadapter_jax.app.render import answer_clip, message
from dstadapter_jax.app.uploads import check_upload, delete_upload
from dstadapter_jax.data.clips import Clip
from dstadapter_jax.data.video.reader import ClipError
from dstadapter_jax.inference.recognizer import NonFiniteOutputError, Recognizer

logger = logging.getLogger(__name__)

TITLE = "Which sign is it?"
HINT = "The answer appears here."
NO_CLIP = "Choose or record a clip first."
GONE = "This clip has been deleted from the server meanwhile: choose or record it again."
NO_ANSWER = "The model has no answer to this clip. Who runs this page finds the reason in its log."
MOST_WAITING = 16  # requests in the queue; one is answered at a time
KEPT_SECONDS = 600  # a clip's views, for another language


class Answering:
    """What the page does; its methods are Gradio's handlers.

    Attributes:
        recognizers: By language, all of one number and size of frames.
        decoder: Reads the uploads.
        folder: Where they lie.
    """

    def __init__(
        self, recognizers: Mapping[str, Recognizer], decoder: Decoder, folder: pathlib.Path
    ):
        self.recognizers, self.decoder, self.folder = recognizers, decoder, folder

    def warm_up(self) -> None:
        """Compiles what any clip may need: three crops, or a square video's one.

        Raises:
            DivergedError: Of a black clip the model's probabilities aren't finite.
        """
        for recognizer in self.recognizers.values():
            cfg = recognizer.preprocess
            views = np.zeros((3, cfg.num_frames, cfg.resolution, cfg.resolution, 3), np.uint8)
            indices = np.arange(cfg.num_frames)
            for count in (1, 3):
                answer_clip(recognizer, Clip(views[:count], np.ones(count, np.int64), indices))

    def answer_upload(
        self, video: str | None, language: str
    ) -> tuple[str, Clip | None, str | None]:
        """Answers an upload and deletes it.

        Returns:
            HTML, what to answer from in another language, and what takes the upload's place.
        """
        if video is None:
            return message(NO_CLIP, error=True), None, None
        recognizer, start = self.recognizers[language], time.perf_counter()
        try:
            clip = self.decoder.read(
                video, recognizer.preprocess, recognizer.config["data"]["decoder"]
            )
        except ClipError as error:
            return message(f"This clip {_clause(error.reason)}.", error=True), None, None
        finally:
            delete_upload(self.folder, video)
        answer = _answer(recognizer, clip)
        logger.info("answered a clip in %.2f s", time.perf_counter() - start)
        return answer, clip, None

    async def uploads_alone(self, path: str | pathlib.Path | None) -> str:
        """Lets Gradio take an upload; it would take an address, too, and have the server fetch it.

        Raises:
            gradio.Error: It is something else, or has been deleted.
        """
        if not check_upload(self.folder, str(path)):
            raise gr.Error(GONE, print_exception=False)
        return str(path)

    def answer_again(self, clip: Clip | None, language: str) -> str:
        """Answers the last clip in another language."""
        return message(HINT) if clip is None else _answer(self.recognizers[language], clip)


def _answer(recognizer: Recognizer, clip: Clip) -> str:
    try:
        return answer_clip(recognizer, clip)
    except NonFiniteOutputError as error:
        logger.warning("%s", error)
        return message(NO_ANSWER, error=True)


def _clause(reason: str) -> str:
    """A `ClipError.reason`, most of which begin with a verb, to follow "This clip"."""
    verbs = ("is ", "has ", "holds ", "can't ", "takes ", "makes ", "changes ")
    return reason if reason.startswith(verbs) else f"can't be read: {reason}"


def build_page(answering: Answering, allowed: str) -> gr.Blocks:
    """The page.

    Args:
        answering: What it does.
        allowed: What a clip may be, for people.
    """
    languages = list(answering.recognizers)
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(f"# {TITLE}\n{allowed}")
        views = gr.State(None, time_to_live=KEPT_SECONDS)
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=280):
                # With include_audio=False Gradio would hand the upload to ffmpeg.
                video = gr.Video(label="Clip", include_audio=True, buttons=[])
                # Not by a subclass, of which Gradio writes a stub beside the source.
                vars(video)["async_move_resource_to_block_cache"] = answering.uploads_alone
                language = gr.Radio(
                    languages, value=languages[0], label="Language", visible=len(languages) > 1
                )
                button = gr.Button("Recognize", variant="primary")
            with gr.Column(scale=5, min_width=280):
                answer = gr.HTML(message(HINT), elem_id="answer", js_on_load=None)
        button.click(
            answering.answer_upload,
            [video, language],
            [answer, views, video],
            api_name="answer",
            show_progress_on=answer,
            concurrency_id="answer",
        )
        language.change(
            answering.answer_again,
            [views, language],
            answer,
            api_visibility="private",
            concurrency_id="answer",
        )
    page.queue(max_size=MOST_WAITING, api_open=False, default_concurrency_limit=1)
    return page
