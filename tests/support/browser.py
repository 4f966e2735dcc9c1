"""A headless Chromium, started once for many pages. Nothing is downloaded; its profile is a given directory.

1. The test is skipped where Chromium or its driver is not installed.
2. A page must not have written to its console nor made a network request.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from mmirrorfs.cli.page import html
from tests.support.polling import poll
from tests.support.users import need

PATIENCE = 20.0
"""Seconds that a page may take to load, or a script in it to end."""
ARGUMENTS = (
    "--headless=new",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
)


class Browser:
    """The browser, and the page in it. Elements are named by CSS selectors."""

    def __init__(self, driver: webdriver.Chrome, place: Path) -> None:
        self.driver = driver
        self.place = place
        self.pages = 0

    def open(
        self,
        plan: Mapping[str, object] | bytes,
        width: int = 1280,
        height: int = 900,
        clipboard: str | None = None,
    ) -> None:
        """Open a plan, or a page of one, in a window of that size in CSS pixels, with an empty local storage.

        With ``clipboard``, that is the clipboard's content, and the page may access it.
        """
        self.pages += 1
        page = self.place / f"{self.pages}.html"
        page.write_bytes(plan if isinstance(plan, bytes) else html(plan).encode())
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(page.as_uri())
        self.evaluate("localStorage.clear()")
        if clipboard is not None:
            self._permit("clipboard-read")
            self._permit("clipboard-write")
            self.evaluate("return navigator.clipboard.writeText(arguments[0])", clipboard)

    def evaluate(self, script: str, *arguments: object) -> Any:  # noqa: ANN401  # whatever the script returns
        """The value of a script in the page."""
        return self.driver.execute_script(script, *arguments)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str) -> WebElement:
        """The only element. Raises ValueError for none or several."""
        (element,) = self.all(selector)
        return element

    def texts(self, selector: str) -> list[str]:
        """Their texts, visible or not."""
        texts: list[str] = self.evaluate(
            "return [...document.querySelectorAll(arguments[0])].map((element) => element.textContent)", selector
        )
        return texts

    def text(self, selector: str) -> str:
        (text,) = self.texts(selector)
        return text

    def click(self, selector: str, text: str = "") -> None:
        """Click on the first element whose text starts with ``text``."""
        said = self.texts(selector)
        found = [element for element, own in zip(self.all(selector), said, strict=True) if own.startswith(text)]
        assert found, f"no {selector} begins with {text!r}: {said}"
        found[0].click()

    def type(self, *keys: str, into: str | None = None) -> None:
        """Press keys in the focused element, or replace the content of a field."""
        if into is None:
            self.driver.switch_to.active_element.send_keys(*keys)
        else:
            self.one(into).send_keys(Keys.CONTROL, "a", Keys.NULL, *keys)

    def scroll(self, selector: str, top: int) -> None:
        """Scroll in an element, and wait until the page has answered to it."""
        self.evaluate("document.querySelector(arguments[0]).scrollTop = arguments[1]", selector, top)
        self.driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def prefer(self, theme: str) -> None:
        """What the system says of light and dark."""
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def clipboard(self) -> str:
        """What the clipboard has."""
        text: str = self.evaluate("return navigator.clipboard.readText()")
        return text

    def _permit(self, name: str) -> None:
        self.driver.execute_cdp_cmd("Browser.setPermission", {"permission": {"name": name}, "setting": "granted"})

    def becomes(self, selector: str, text: str) -> None:
        """Wait until an element says that."""
        poll(lambda: self.text(selector) == text, f"{selector} says {text!r}")

    def complaints(self) -> list[object]:
        """What the console has said, and the addresses that were asked for, since last time.

        But for the page's own, and those of the browser's: it is busy with its first tab still.
        """
        said: list[object] = [entry["message"] for entry in self._log("browser")]
        return said + [url for url in self._asked() if not url.startswith((self.place.as_uri(), "data:", "chrome://"))]

    def _log(self, kind: str) -> list[dict[str, Any]]:
        log: list[dict[str, Any]] = self.driver.get_log(kind)  # type: ignore[no-untyped-call]
        return log

    def _asked(self) -> Iterator[str]:
        for entry in self._log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                yield message["params"]["request"]["url"]


@contextlib.contextmanager
def browsing(place: Path, arguments: Sequence[str] = ARGUMENTS) -> Iterator[Browser]:
    """A browser whose profile, and whose home, is in ``place``; it ends with the block."""
    options = webdriver.ChromeOptions()
    options.binary_location = need("chromium")
    for argument in (
        *arguments,
        f"--user-data-dir={place / 'profile'}",
        *(["--no-sandbox"] if not os.geteuid() else []),
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(need("chromedriver"), env={**os.environ, "HOME": str(place)})
    driver = webdriver.Chrome(options, service)
    try:
        driver.set_page_load_timeout(PATIENCE)
        driver.set_script_timeout(PATIENCE)
        yield Browser(driver, place)
    finally:
        driver.quit()
