#!/bin/bash
# test_page_looks.sh: the page in a headless Chromium: every view in both languages, on a projector and a narrow screen, its contrast, that of
# text on canvases too; the tours; the static export (tests/page_looks.py). The rest of tests/test_page_browser.py, which test_page_browser.sh begins.
exec "$(dirname "$0")/test_page_browser.sh" looks canvases tours static
