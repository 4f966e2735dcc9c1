"""Accessibility of a page: the contrast of all text, and accessible names."""

from tests.support.browser import Browser

_CONTRASTS = """
const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
const weights = [0.2126, 0.7152, 0.0722];
const luminance = (colour) => weights.reduce((sum, weight, at) => sum + weight * linear(colour[at] / 255), 0.05);
const ground = (element) => {
    const colour = parse(getComputedStyle(element).backgroundColor);
    return colour.length === 3 ? colour : ground(element.parentElement);
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const skipped = !walker.currentNode.data.trim() || element.closest("script, .hidden") || !element.checkVisibility();
    if (skipped) continue;
    const both = [parse(getComputedStyle(element).color), ground(element)].map(luminance);
    found.push([Math.max(...both) / Math.min(...both), element.outerHTML]);
}
return found;
"""

_NAMELESS = """
const said = (element) => element.ariaLabel ?? element.closest("label")?.textContent ?? element.textContent;
const known = "button, input, [role=tabpanel], [role=grid], [role=group], [role=tablist], pre, aside, section, dialog";
return [...document.querySelectorAll(known)]
    .filter((element) => element.checkVisibility() && !said(element).trim() && !element.ariaLabelledByElements?.length)
    .map((element) => element.outerHTML);
"""


def contrasts(browser: Browser) -> list[tuple[float, str]]:
    """The contrast of each visible text to its background (WCAG, 1 to 21), and its element."""
    return [(contrast, element) for contrast, element in browser.evaluate(_CONTRASTS)]


def nameless(browser: Browser) -> list[str]:
    """Elements without a name for screen readers."""
    found: list[str] = browser.evaluate(_NAMELESS)
    return found
