"""Open the pages of a built site in headless Chromium, on a desk and on a phone, and look for what does not fit.

    python .ci/look_at_site.py docs/_build/html --out shots             # every page
    python .ci/look_at_site.py docs/_build/html --out shots index.html notebooks/first_look.html

Wrong are a page that scrolls sideways, an element that is cut off at a side without a scroll bar of its own, an
image that did not load, and a file of the site that the page asks for in vain. Screenshots of the whole pages go to
--out. Needs chromium and chromedriver on the PATH and the package selenium.
"""

from __future__ import annotations

import argparse
import base64
import functools
import shutil
import sys
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

#: Width and height in CSS pixels.
SCREENS = {"desktop": (1280, 900), "phone": (390, 844)}
#: Pages taller than this are cut in the screenshot; Chromium cannot draw more.
TALLEST = 16_000
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()
#: Finds what reaches beyond the window although nothing around it scrolls or hides it, and images that failed.
LOOK = """
const width = document.documentElement.clientWidth, wrong = [];
if (document.documentElement.scrollWidth > width + 1)
  wrong.push(`the page is ${document.documentElement.scrollWidth} px wide in a window of ${width}`);
const kept = node => {
  for (let up = node.parentElement; up && up !== document.body; up = up.parentElement)
    if (getComputedStyle(up).overflowX !== "visible" || getComputedStyle(up).position === "fixed") return true;
  return false;
};
for (const node of document.querySelectorAll("main *, article *")) {
  const box = node.getBoundingClientRect();
  const ends = [box.left, box.right].map(Math.round);
  const seen = box.width && node.checkVisibility({visibilityProperty: true});
  if (seen && (ends[0] < -1 || ends[1] > width + 1) && !kept(node))
    wrong.push(`<${node.tagName.toLowerCase()} class="${node.className}"> goes from ${ends[0]} to ${ends[1]} px`);
}
for (const image of document.images)
  if (image.complete && !image.naturalWidth) wrong.push(`image ${image.src} did not load`);
return [wrong.slice(0, 5), Math.ceil(document.documentElement.scrollHeight)];
"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve(folder: Path) -> str:
    """Serve the folder on this machine; return its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def open_browser(profile: str) -> webdriver.Chrome:
    """Start Chromium with a profile of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for flag in [*FLAGS, f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "SEVERE"})
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def look(browser: webdriver.Chrome, address: str, screen: str, picture: Path | None) -> list[str]:
    """Open a page at a width; return what is wrong with it, and keep a picture."""
    width, height = SCREENS[screen]
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": screen == "phone"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(address)
    browser.execute_script("for (const image of document.images) image.loading = 'eager';")
    wrong, tall = browser.execute_script(LOOK)
    said = [entry["message"] for entry in browser.get_log("browser")]
    # what an offline machine cannot fetch from elsewhere is not the site's fault
    wrong += [message for message in said if "127.0.0.1" in message and "Failed to load" in message]
    if picture is not None:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size | {"height": min(tall, TALLEST)})
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {})
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(base64.b64decode(shot["data"]))
    return wrong


def main(arguments: list[str] | None = None) -> int:
    """Look at the pages; 0 where nothing is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path, help="folder of the built site")
    parser.add_argument("pages", nargs="*", help="pages within it (default: all)")
    parser.add_argument("--out", type=Path, help="folder for screenshots (default: none are kept)")
    options = parser.parse_intermixed_args(arguments)
    pages = [path.relative_to(options.site) for path in sorted(options.site.rglob("*.html"))]
    pages = options.pages or [str(path) for path in pages if path.parts[0] != "_static"]
    address, n_wrong = serve(options.site), 0
    with tempfile.TemporaryDirectory() as profile:
        browser = open_browser(profile)
        try:
            for page in pages:
                for screen in SCREENS:
                    name = f"{Path(page).with_suffix('')}-{screen}.png".replace("/", "-")
                    wrong = look(browser, f"{address}/{page}", screen, options.out / name if options.out else None)
                    n_wrong += len(wrong)
                    print(*(f"{page} ({screen}): {line}" for line in wrong), sep="\n", end="\n" if wrong else "")
        finally:
            browser.quit()
    print(f"{len(pages)} pages on {len(SCREENS)} screens: {n_wrong} things wrong")
    return int(n_wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
