from dstadapter_jax.app.hardening.uploads import check_upload, delete_upload, sweep


def test_only_uploads_are_recognized_and_deleted(tmp_path):
    folder = tmp_path.resolve() / "folder"
    upload = folder / "hash" / "clip.mp4"
    upload.parent.mkdir(parents=True)
    upload.touch()
    other = tmp_path / "clip.mp4"
    other.touch()
    link = folder / "hash" / "link.mp4"
    link.symlink_to(other)
    assert check_upload(folder, str(upload))
    for path in (
        other,
        link,
        folder / "hash",
        folder / "none.mp4",
        "/etc/passwd",
        "http://a/b.mp4",
    ):
        assert not check_upload(folder, str(path))
        delete_upload(folder, str(path))
    assert other.exists()
    sweep(folder, 60)
    assert upload.exists()
    (folder / "aborted").touch()
    sweep(folder, 0)
    assert not list(folder.iterdir())
