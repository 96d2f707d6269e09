"""The page: takes a clip and a language, shows an answer, and deletes the clip."""

import logging
import pathlib
import time
from collections.abc import Mapping

import gradio as gr
import numpy as np

from dstadapter_jax.app.hardening.decoder import Decoder
from dstadapter_jax.app.hardening.uploads import check_upload, delete_upload
from dstadapter_jax.app.render import answer_clip, message
from dstadapter_jax.data.clips import Clip
from dstadapter_jax.data.video.reader import ClipError
from dstadapter_jax.inference.recognizer import NonFiniteOutputError, Recognizer

logger = logging.getLogger(__name__)

TITLE = "Which sign is it?"
HINT = "The answer appears here."
NO_CLIP = "Choose or record a clip first."
GONE = "This clip has expired: choose or record it again."
NO_ANSWER = "The model failed on this clip. The server's log has the reason."
MAX_QUEUE = 16  # waiting requests; one is answered at a time
VIEWS_SECONDS = 600  # lifetime of a clip's views, kept for another language


class Answering:
    """Gradio's event handlers.

    Attributes:
        recognizers: Recognizers by language, all with the same number and size of frames.
        decoder: Reader of the uploads.
        folder: Folder of the uploads.
    """

    def __init__(
        self, recognizers: Mapping[str, Recognizer], decoder: Decoder, folder: pathlib.Path
    ):
        self.recognizers, self.decoder, self.folder = recognizers, decoder, folder

    def warm_up(self) -> None:
        """Compile the programs for three crops and for one crop, which square videos give.

        Raises:
            NonFiniteOutputError: The model's probabilities of a black clip are not finite.
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
        """Answer an upload and delete it.

        Returns:
            HTML; the clip, kept for other languages; and None as the new value of the upload field.
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

    async def admit_upload(self, path: str | pathlib.Path | None) -> str:
        """Accept the path of an upload; Gradio itself would also fetch URLs.

        Raises:
            gradio.Error: The path is not an upload, or it has been deleted.
        """
        if not check_upload(self.folder, str(path)):
            raise gr.Error(GONE, print_exception=False)
        return str(path)

    def answer_again(self, clip: Clip | None, language: str) -> str:
        """Answer the last clip in another language."""
        return message(HINT) if clip is None else _answer(self.recognizers[language], clip)


def _answer(recognizer: Recognizer, clip: Clip) -> str:
    try:
        return answer_clip(recognizer, clip)
    except NonFiniteOutputError as error:
        logger.warning("%s", error)
        return message(NO_ANSWER, error=True)


def _clause(reason: str) -> str:
    """`ClipError.reason` as the predicate of "This clip"; most reasons begin with a verb."""
    verbs = ("is ", "has ", "holds ", "can't ", "takes ", "makes ", "changes ")
    return reason if reason.startswith(verbs) else f"can't be read: {reason}"


def build_page(answering: Answering, allowed: str) -> gr.Blocks:
    """Build the page; `allowed` describes the limits on clips."""
    languages = list(answering.recognizers)
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(f"# {TITLE}\n{allowed}")
        views = gr.State(None, time_to_live=VIEWS_SECONDS)
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=280):
                # With include_audio=False Gradio would pass the upload to ffmpeg.
                video = gr.Video(label="Clip", include_audio=True, buttons=[])
                # Not by a subclass: Gradio would write a stub file of it beside the source.
                vars(video)["async_move_resource_to_block_cache"] = answering.admit_upload
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
    page.queue(max_size=MAX_QUEUE, api_open=False, default_concurrency_limit=1)
    return page
