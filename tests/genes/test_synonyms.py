"""FlyBase synonym files and plain tables are read as they are, and the fetch fails with advice."""

from __future__ import annotations

import gzip

import pytest

from scflyformer.genes import _synonyms
from scflyformer.genes._synonyms import fetch_synonyms, read_synonyms

FLYBASE = """## FlyBase Synonyms
## Generated: today

##primary_FBid\torganism_abbreviation\tcurrent_symbol\tcurrent_fullname\tfullname_synonym(s)\tsymbol_synonym(s)
FBgn0000001\tDmel\tDrak\tDeath-associated protein kinase related\tfull "name|other\tCG32666|dDrak|both
FBgn0000002\tDmel\tfz2\tfrizzled 2\t\tCG9739|Dfz2|both|fz2
FBgn0000003\tDmel\tnan\tnanchung\t\tNA|"quoted
FBgn0000004\tDsim\tDsim\\fz2\t\t\tsimfz2
FBal0000005\tDmel\tw[1]\twhite-1\t\tw1
FBgn0000006\tDmel\t-\t\t\t-|
FBgn0000007\tDmel\tshort
"""


@pytest.fixture(params=["tsv", "tsv.gz"])
def flybase(tmp_path, request):
    path = tmp_path / f"fb_synonym_fb_2025_01.{request.param}"
    path.write_bytes(FLYBASE.encode() if request.param == "tsv" else gzip.compress(FLYBASE.encode()))
    return path


def test_flybase_file(flybase):
    table = read_synonyms(flybase)
    assert table.current == {
        "Drak": "FBgn0000001",
        "fz2": "FBgn0000002",
        "nan": "FBgn0000003",
        "short": "FBgn0000007",
    }
    assert table.synonyms == {
        "CG32666": "FBgn0000001",
        "dDrak": "FBgn0000001",
        "CG9739": "FBgn0000002",
        "Dfz2": "FBgn0000002",
        "NA": "FBgn0000003",
        '"quoted': "FBgn0000003",
    }
    assert table.ambiguous == {"both"}


@pytest.mark.parametrize("heading", ["", "# a note\n", "#name\tgene\n"])
def test_plain_table(tmp_path, heading):
    path = tmp_path / "names.tsv"
    path.write_text(heading + "Drak\tFBgn0000001\nnan\tFBgn0000003\n-\tFBgn0000009\nx\tFBgn0000004\nx\tFBgn0000005\n")
    table = read_synonyms(str(path))
    assert table.current == {}
    assert table.synonyms == {"Drak": "FBgn0000001", "nan": "FBgn0000003"}
    assert table.ambiguous == {"x"}


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No synonym file at .*fb_synonym_fb_YYYY_MM"):
        read_synonyms(tmp_path / "absent.tsv")


@pytest.mark.parametrize("text", ["a\tb\tc\n1\t2\t3\n", "a\tFBgn0000001\nb\tFBgn0000002\tmore\n"])
def test_other_table(tmp_path, text):
    path = tmp_path / "other.tsv"
    path.write_text(text)
    with pytest.raises(ValueError, match="3 columns"):
        read_synonyms(path)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\xff\xfe", gzip.compress(FLYBASE.encode())[:-20]])
def test_no_text_or_cut_off(tmp_path, content):
    path = tmp_path / "broken.tsv.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a readable text table"):
        read_synonyms(path)


class TestFetch:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SCFLYFORMER_CACHE", str(tmp_path))
        return tmp_path

    @pytest.fixture
    def server(self, tmp_path_factory, monkeypatch):
        """A loopback server in FlyBase's place; returns the number of requests answered."""
        import threading
        from http.server import BaseHTTPRequestHandler, HTTPServer

        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                content = gzip.compress(FLYBASE.encode())
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/{{release}}/{{file}}"
        monkeypatch.setattr(_synonyms, "_URL", url)
        yield asked
        server.shutdown()
        server.server_close()
        thread.join()

    def test_fetched_once(self, server, cache):
        assert read_synonyms("FB2024_06").current["Drak"] == "FBgn0000001"
        assert read_synonyms("FB2024_06").current["Drak"] == "FBgn0000001"
        assert server == ["/FB2024_06/fb_synonym_fb_2024_06.tsv.gz"]
        assert (cache / "flybase" / "fb_synonym_fb_2024_06.tsv.gz").is_file()

    def test_default_release(self, server):
        read_synonyms("flybase")
        assert server == ["/FB2025_01/fb_synonym_fb_2025_01.tsv.gz"]

    def test_offline(self, monkeypatch, cache):
        monkeypatch.setattr(_synonyms, "_URL", "http://127.0.0.1:9/{release}/{file}")
        with pytest.raises(ConnectionError, match=r"Download that file .* pass its path as `synonyms`, or put it at"):
            fetch_synonyms("FB2025_01")

    def test_put_there_by_hand(self, monkeypatch, cache):
        monkeypatch.setattr(_synonyms, "_URL", "http://127.0.0.1:9/{release}/{file}")
        folder = cache / "flybase"
        folder.mkdir()
        (folder / "fb_synonym_fb_2025_01.tsv.gz").write_bytes(gzip.compress(FLYBASE.encode()))
        assert "Drak" in read_synonyms("flybase").current
