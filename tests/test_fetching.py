"""Videos from addresses and standard input: copied once, checked, never half."""

import functools
import http.server
import io
import threading
from pathlib import Path

import pytest

from movseg_jax.cli import app
from movseg_jax.errors import InputError
from movseg_jax.segment import fetching, video_list
from movseg_jax.segment.fetching import fetched, identifies, standard_input
from movseg_jax.segment.video_list import find_videos
from movseg_jax.video.reading import fingerprint
from tests.fakes.square_detector import load_squares, scene, write_video


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves files, what is cut off, and redirects."""

    asked = 0

    def do_GET(self):
        type(self).asked += 1
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
        elif self.path.startswith("/cut"):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The address of a server of the folder "www"; http counts as safe here."""
    monkeypatch.setattr(video_list, "SCHEMES", ("http",))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "www").mkdir()
    handler = functools.partial(Server, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def leftovers(tmp_path):
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_an_address_is_downloaded_once(server, tmp_path):
    (tmp_path / "www" / "a b.mp4").write_bytes(b"content")
    address = f"{server}/a%20b.mp4?x=1"
    before = Server.asked
    copy = fetched(address)
    assert copy == fetched(address) and Server.asked == before + 1
    assert Path(copy).read_bytes() == b"content" and Path(copy).name == "a_b.mp4"
    assert fetched(f"{server}/to//a%20b.mp4") != copy
    assert fetched("clip.mp4") == "clip.mp4"


@pytest.mark.parametrize(
    "path, message",
    [
        ("/none.mp4", "cannot be downloaded: 404 File not found"),
        ("/cut.mp4", "ended after 10 of 1000 bytes"),
        ("/to/file:///etc/hostname", "file:///etc/hostname' is not allowed"),
        ("/to/ftp://example.com/x", "which is not https"),
        ("/large.mp4", "has more than 100 bytes"),
    ],
)
def test_what_cannot_be_downloaded_is_an_input_error(
    server, tmp_path, monkeypatch, path, message
):
    monkeypatch.setattr(fetching, "MAX_BYTES", 1000 if "cut" in path else 100)
    (tmp_path / "www" / "large.mp4").write_bytes(b"x" * 101)
    with pytest.raises(InputError, match=message):
        fetched(server + path)
    assert leftovers(tmp_path) == []


def test_a_video_is_known_by_its_address_wherever_its_copy_is(server, tmp_path):
    (tmp_path / "www" / "a.mp4").write_bytes(b"content")
    for address in (f"{server}/a.mp4", f"{server}/a.mp4?password=1"):
        name = fetching.address_name(address)
        copies = [fetched(address, tmp_path / place) for place in "xy"]
        first, second = (fingerprint(copy, name) for copy in copies)
        assert first == second and "7 bytes" in first and copies[0] != copies[1]
        assert first.startswith(f"{server}/a.mp4") and "password" not in first
        assert identifies(first, address) and not identifies(first, f"{address}0")
    other = tmp_path / "www" / "a.mp4"
    assert identifies(fingerprint(other), str(other))
    assert not identifies(first, str(other)) and not identifies(None, address)
    assert not identifies(fingerprint(other), str(tmp_path / "none.mp4"))


def test_a_server_that_is_not_there_is_an_input_error(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for address in ("https://127.0.0.1:9/v.mp4", "https://", "https://[x/v.mp4"):
        with pytest.raises(InputError, match="cannot be downloaded"):
            fetched(address)
    assert find_videos(["https://a/b.mp4"]).videos == ("https://a/b.mp4",)


def test_standard_input_is_named_by_its_content_and_removed_when_done(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    paths = []
    for data in (b"one", b"two", b"one"):
        with pytest.raises(SystemExit), standard_input(io.BytesIO(data)) as copy:
            paths.append(copy)
            assert Path(copy).read_bytes() == data
            raise SystemExit(75)
    assert paths[0] == paths[2] != paths[1] and len(leftovers(tmp_path)) == 2
    for data in (b"one", b"two"):
        with standard_input(io.BytesIO(data)):
            pass
    assert leftovers(tmp_path) == []
    with pytest.raises(InputError, match="is empty"), standard_input(io.BytesIO(b"")):
        pass
    assert leftovers(tmp_path) == []


def test_the_command_takes_addresses_and_standard_input(
    server, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("movseg_jax.system.process.prepare_jax", lambda: None)
    monkeypatch.setattr("movseg_jax.cli.segment.load_model", load_squares)
    monkeypatch.chdir(tmp_path)
    video = write_video(tmp_path / "www" / "v.mp4", scene(3))
    assert app.main(["segment", f"{server}/v.mp4", "--quiet"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Look at v_movseg/report.html."
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other cache"))
    assert app.main(["segment", f"{server}/v.mp4", "--quiet"]) == 0
    assert "finished already" in capsys.readouterr().out

    class Stdin:
        buffer = io.BytesIO(video.read_bytes())

    monkeypatch.setattr("sys.stdin", Stdin)
    assert app.main(["segment", "-", "--quiet"]) == 0
    assert "stdin_movseg: finished, 1 track in 3" in capsys.readouterr().out
    assert app.main(["segment", f"{server}/none.mp4", "--quiet"]) == 2
    assert "404" in capsys.readouterr().err


def test_a_connection_that_is_lost_is_no_fault_of_the_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    class Answer(io.BytesIO):
        @property
        def headers(self):
            return {"Content-Length": "9"}

        def read(self, size):
            if not self.tell():
                return super().read(4)
            raise TimeoutError("timed out")

    class Opener:
        def open(self, request, timeout):
            return Answer(b"123456789")

    monkeypatch.setattr(fetching, "_opener", Opener)
    with pytest.raises(InputError) as error:
        fetched("https://a/b.mp4")
    assert str(error.value) == "https://a/b.mp4: cannot be downloaded: timed out."
    assert leftovers(tmp_path) == []
