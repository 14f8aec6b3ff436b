#!/usr/bin/env bash
# What listening costs: seconds from command to first sound, wake-ups a second, processor time, and memory, of
# `roundelay play` beside mpv and ffplay on the same station at the same time. Prints tables.
#
#   ci/listen.sh                    all: some four minutes
#   ci/listen.sh --minutes 60       as long for wake-ups, processor time and memory
#   ci/listen.sh --rounds 5         as many times for the first sound
#   ci/listen.sh --only first|costs
#
# It builds and starts what it needs as ci/live.sh does. Figures are of an idle machine, or of none.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=1 rounds=5 only=""
while [ $# -gt 0 ]; do
    case $1 in
    --minutes) minutes=$2 ;;
    --rounds) rounds=$2 ;;
    --only) only=$2 ;;
    *) sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift 2
done

# Its stations, servers and helpers; it ends them, too.
# shellcheck source=ci/live.sh
source ci/live.sh --sourced
begin
# The group of this very script is not to be ended by itself: what is started here is noted.
mkdir "$TMP/listen" && cd "$TMP/listen"
for command in mpv ffplay; do command -v $command >/dev/null || echo "$command is not installed"; done

started() { servers+=("$1"); }

on_the_air() { # on_the_air CODEC: $url
    local place=$TMP/listen-$1
    mkdir -p "$place"
    pushd "$place" >/dev/null
    station "$1"
    started "$station"
    popd >/dev/null
}

median() { sort -n | awk '{ v[NR] = $1 } END { printf "%.2f (%.2f to %.2f)", v[int((NR + 1) / 2)], v[1], v[NR] }'; }

first_sound() {
    local codec round
    echo
    echo "Seconds from command to first sound, default start mark of 1000 ms: median (least to most) of $rounds"
    echo
    echo "| station | seconds |"
    echo "|---|---|"
    for codec in mp3 mp3-mono aac vorbis ogg-flac; do
        on_the_air $codec
        # Longer than the burst lasts, so that a listener gets as much at once as of any station.
        sleep 8
        for ((round = 0; round < rounds; round++)); do
            plays 20 "$url" --output null --seconds 0.5
            figure out.json .first_sound_seconds
        done >firsts.txt
        echo "| $codec | $(median <firsts.txt) |"
        kill "$station"
    done
    for codec in flac wav; do
        odd $codec
        for ((round = 0; round < rounds; round++)); do
            plays 20 "$url" --output null --seconds 0.5
            figure out.json .first_sound_seconds
        done >firsts.txt
        echo "| $codec, plain HTTP, no burst | $(median <firsts.txt) |"
    done
    make file.flac -i "$sine:duration=60" -ac 2 -c:a flac
    mkdir -p "$TMP/www/listen" && ln -f file.flac "$TMP/www/listen/"
    for ((round = 0; round < rounds; round++)); do
        plays 20 "http://127.0.0.1:$NGINX_PORT/fast/listen/file.flac" --output null --seconds 0.5
        figure out.json .first_sound_seconds
    done >firsts.txt
    echo "| file.flac on a server | $(median <firsts.txt) |"
}

# switches PID: of each thread its name and how often it was woken or pushed aside.
switches() {
    local task
    for task in /proc/"$1"/task/*; do
        # A thread may end meanwhile.
        { printf '%s ' "${task##*/}" && tr ' ' _ <"$task/comm" | tr '\n' ' ' &&
            awk '/ctxt_switches/ { n += $2 } END { print n }' "$task/status"; } 2>/dev/null || true
    done
}
ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; }
rss_kib() { awk '/^VmRSS/ { print $2 }' "/proc/$1/status"; }

# slope PID: by how many KiB its memory grows in an hour, over the second half of rss.txt.
slope() {
    awk -v pid="$1" '
        $3 == pid { n++; at[n] = $1; kib[n] = $2 }
        END {
            for (i = int(n / 2) + 1; i <= n; i++) { m++; x += at[i]; y += kib[i]; xx += at[i] ^ 2; xy += at[i] * kib[i] }
            print m > 1 ? (m * xy - x * y) / (m * xx - x ^ 2) : 0
        }' rss.txt
}

# switched PID FILE-BEFORE SECONDS: wake-ups a second of the audio thread, and of all others.
switched() {
    switches "$1" | awk -v seconds="$3" '
        NR == FNR { before[$1] = $3; next }
        { n = $3 - before[$1]; if ($2 == "output") audio += n; else { others += n; each[$2] += n } }
        END {
            printf "%.1f|%.1f|", audio / seconds, others / seconds
            for (name in each) printf "%s %.2f ", name, each[name] / seconds
        }' "$2" -
}

costs() {
    local seconds=$((minutes * 60)) name pid began
    declare -A pid_of ticks_of rss_of
    on_the_air mp3
    sleep 5
    "$ROUNDELAY" play "$url" --output null >/dev/null 2>log.txt </dev/null &
    pid_of["roundelay, no terminal"]=$!
    started $!
    # Its window stays full of the same: what grows is a leak.
    at_the_end+=("tmux -S $TMP/listen/tmux.sock kill-server")
    tm new-session -d -x 100 -y 24 "exec $ROUNDELAY play $url --output null"
    pid_of["roundelay, terminal"]=$(tm display-message -p '#{pane_pid}')
    if command -v mpv >/dev/null; then
        mpv --no-video --no-config --no-terminal --ao=null "$url" >/dev/null 2>&1 </dev/null &
        pid_of["mpv --no-video --ao=null"]=$!
        started $!
    fi
    if command -v ffplay >/dev/null; then
        SDL_AUDIODRIVER=dummy ffplay -nodisp -nostats -loglevel error "$url" >/dev/null 2>&1 </dev/null &
        pid_of["ffplay -nodisp"]=$!
        started $!
    fi
    # The burst is behind, and what is decoded ahead is full.
    sleep 20
    began=$(now)
    for name in "${!pid_of[@]}"; do
        pid=${pid_of[$name]}
        kill -0 "$pid" 2>/dev/null || { echo "$name has ended: $(tail -n 1 log.txt)"; unset "pid_of[$name]"; continue; }
        switches "$pid" >"before-$pid"
        ticks_of[$name]=$(ticks "$pid")
        rss_of[$name]=$(rss_kib "$pid")
    done
    : >rss.txt
    local end until
    until=$(sum "$(now) + $seconds")
    while math "$(now) < $until"; do
        sleep 5
        for name in "${!pid_of[@]}"; do
            echo "$(awk "BEGIN { print ($(now) - $began) / 3600 }") $(rss_kib "${pid_of[$name]}") ${pid_of[$name]}" >>rss.txt
        done
    done
    end=$(sum "$(now) - $began")
    echo
    echo "MP3 of 128 kbit/s from Icecast, $minutes min, all at the same time"
    echo
    echo "| player | wake-ups/s, audio thread | wake-ups/s, all others | CPU s per hour | memory, MiB | growth, MiB | in the second half, KiB an hour |"
    echo "|---|---|---|---|---|---|---|"
    for name in "${!pid_of[@]}"; do
        pid=${pid_of[$name]}
        switched "$pid" "before-$pid" "$end" >"of-$pid"
        printf '| %s | %s | %s | %.1f | %.1f | %.2f | %.0f |\n' "$name" "$(cut -d'|' -f1 "of-$pid")" "$(cut -d'|' -f2 "of-$pid")" \
            "$(sum "($(ticks "$pid") - ${ticks_of[$name]}) / $(getconf CLK_TCK) / $end * 3600")" \
            "$(sum "$(rss_kib "$pid") / 1024")" "$(sum "($(rss_kib "$pid") - ${rss_of[$name]}) / 1024")" "$(slope "$pid")"
    done | sort
    echo
    for name in "${!pid_of[@]}"; do
        [[ $name != roundelay* ]] || echo "$name, each thread: $(cut -d'|' -f3 "of-${pid_of[$name]}")"
    done
    echo "(An audio thread of its own is told apart in roundelay only. Its window grows by 16 kB/s until it is full: ten minutes.)"
    kill "${pid_of["roundelay, no terminal"]}"
}

[ "$only" = costs ] || first_sound
[ "$only" = first ] || costs
