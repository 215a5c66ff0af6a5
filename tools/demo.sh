#!/bin/sh
# Index samples/ and ask three questions whose answers are written in other languages.
set -eu
BIN=${BIN:-.venv/bin}
DATA=${DATA:-.demo}

ask() {
    printf '\n%s\n' "──── $1"
    "$BIN/lusifer" search "$2" --data "$DATA" --limit 3
}

"$BIN/lusifer" index samples --data "$DATA"
ask "English: the best answer is in Telugu" "What should I do if a snake bites me?"
ask "Swahili (how can I save money for emergencies?): the answer is in English" \
    "Ninawezaje kuweka akiba ya pesa kwa ajili ya dharura?"
ask "Persian (how do I make a safe password?): the best answer is in Korean" \
    "چگونه یک رمز عبور امن بسازم؟"
printf '\n%s\n' "Now the same in a browser: make serve, then open http://127.0.0.1:8000"
