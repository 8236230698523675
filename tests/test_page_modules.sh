#!/bin/sh
# test_page_modules.sh: the page's modules outside a browser (tests/test_page_modules.mjs). Needs a node that tells modules by their text
# (20.19, 22 or newer), else it is one counted skip.
cd "$(dirname "$0")/.." || exit 1
if command -v node >/dev/null 2>&1 && node --input-type=module -e "import('$PWD/tools/web/page/js/order.js').catch(() => process.exit(1))" 2>/dev/null; then
    exec node --no-warnings tests/test_page_modules.mjs
fi
echo 'skipped: modules of the page: no node 20.19 or newer is installed'
if [ "${STRICT:-}" = 1 ]; then
    echo '0 passed, 1 failed'
    exit 1
fi
echo '0 passed, 0 failed, 1 skipped'
