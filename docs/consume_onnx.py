"""Recognize the sign in a video with ONNX Runtime, without dstadapter_jax.

    pip install onnxruntime av opencv-python-headless
    python consume_onnx.py signs.onnx clip.mp4

The manifest signs.onnx.json must be beside signs.onnx.
"""

import json
import sys

import av
import cv2
import numpy as np
import onnxruntime

program, video = sys.argv[1:]
with open(f"{program}.json", encoding="utf-8") as file:
    manifest = json.load(file)
num_frames = manifest["preprocessing"]["num_frames"]
side = manifest["preprocessing"]["resolution"]

# Choose one frame from each of num_frames equal segments.
with av.open(video) as container:
    segment = (sum(1 for _ in container.decode(video=0)) - 1) / num_frames
chosen = np.round(segment * np.arange(num_frames)).astype(int) + int(segment / 2)

# Rotate upright, convert to RGB and resize the short side.
frames = {}
with av.open(video) as container:
    for index, frame in enumerate(container.decode(video=0)):
        if index in chosen:
            pixels = frame.to_ndarray(format="rgb24", interpolation="POINT")
            pixels = np.rot90(pixels, frame.rotation // 90)
            scale = side / min(pixels.shape[:2])
            height, width = (int(n * scale + 0.5) for n in pixels.shape[:2])
            frames[index] = cv2.resize(pixels, (width, height))
clip = np.stack([frames[index] for index in chosen])

# Crop squares at the start, the end and the middle of the long side.
y, x = ((n - side) // 2 for n in clip.shape[1:3])
views = np.stack([clip[:, k * y : k * y + side, k * x : k * x + side] for k in (0, 2, 1)])

session = onnxruntime.InferenceSession(program)
probabilities = session.run(None, {"views": views})[0].mean(axis=0)
for label in np.argsort(-probabilities)[:5]:
    print(f"{probabilities[label]:.6f}  {manifest['labels'][label]}")
