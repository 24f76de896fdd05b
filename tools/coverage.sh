#!/bin/sh
# Run the tests of some floors of the house, once, and ask that they alone reach 95 % of those floors' code.
#
#   sh tools/coverage.sh WORKERS FLOOR ...      as the Makefile calls it
#
# A floor is a folder of src/covey, tested by the folder of the same name in tests. A floor that is not there yet is
# passed over; one without tests is an error. Asked twice: of lines and branches together, and of branches alone, for
# long straight functions can hide an untested branch from the first.
set -u

least=95
workers=$1
shift

stop() {
    printf 'coverage: %s\n' "$*" >&2
    exit 1
}

covered=
for floor in "$@"; do
    shift
    if [ -d "src/covey/$floor" ]; then
        [ -d "tests/$floor" ] || stop "src/covey/$floor has no tests/$floor"
        set -- "$@" "tests/$floor"
        covered="$covered${covered:+,}src/covey/$floor/*"
    fi
done

coverage() { .venv/bin/python -m coverage "$@"; }

coverage erase
coverage run -m pytest -q -n "$workers" --dist worksteal -m "not serial and not slow" "$@" || stop 'tests failed'
coverage combine --quiet || exit 1
coverage report --include="$covered" --fail-under="$least" || stop "less than $least % of lines and branches"
coverage json --quiet --include="$covered" -o - | .venv/bin/python -c "
import json, sys

totals = json.load(sys.stdin)['totals']
share = 100 * totals['covered_branches'] / max(1, totals['num_branches'])
print('branches covered: %d of %d, %.1f %%' % (totals['covered_branches'], totals['num_branches'], share))
sys.exit(share < $least)
" || stop "less than $least % of branches"
