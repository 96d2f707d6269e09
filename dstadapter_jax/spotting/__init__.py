"""Signs in a long video or before a camera: which ones, from when to when."""
