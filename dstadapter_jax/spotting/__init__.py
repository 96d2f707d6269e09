"""Sign spotting: signs with their times in a long video or before a camera."""
