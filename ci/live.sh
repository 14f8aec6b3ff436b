#!/usr/bin/env bash
# `roundelay play`, tried as a listener would, against real components: Icecast with ffmpeg sources, nginx, JACK with its
# dummy driver, PipeWire, and a terminal. What was heard is compared with what was sent.
#
#   ci/live.sh              everything: about three minutes on two cores
#   ci/live.sh NAME…        these checks
#   ci/live.sh --list       their names
#
# Everything listens on loopback, on ports that were free, keeps its files in one temporary folder (KEEP=1 leaves it), and
# is ended by its process id. JOBS=N checks run at once (4 by default): nearly all of their time they listen.
set -euo pipefail
cd "$(dirname "$0")/.."
self=$PWD/ci/live.sh

checks=(
    rewind-mp3 rewind-aac rewind-vorbis rewind-ogg-flac rewind-flac rewind-wav
    seek-flac seek-mp3 seek-m4a stall source-restarted titles-mp3 titles-aac titles-vorbis
    wav-mp3 wav-mp3-mono wav-aac wav-vorbis wav-ogg-flac wav-wav wav-flac
    jack-mp3 jack-mp3-mono jack-aac jack-vorbis jack-ogg-flac jack-wav jack-flac
    jack-restarted pipewire file-flac file-wav file-mp3 local-file
    change-mp3-aac change-rate chained-ogg icy-answer redirect broken-mp3 broken-flac
    unreachable unknown-host not-found page opus random-bytes silent-server no-real-time
    playlist-m3u playlist-pls playlist-loop playlist-hls playlist-empty
    interrupt terminate suspend-resize no-terminal
)

# --- what every check uses -------------------------------------------------------------------------------------------

fail() {
    echo "$*" >failed
    exit 1
}

skip() {
    echo "$*" >skipped
    exit 0
}

# Said behind the name of a check that passed.
note() { echo -n "${1}; " >>notes; }

# What leaves the process group of its check, and so has to be ended one by one.
at_the_end=()
end_others() {
    local command
    for command in "${at_the_end[@]}"; do $command 2>/dev/null || true; done
}

# holds FILE CONDITION…: each is true of the JSON in the file.
holds() {
    local file=$1 condition
    shift
    [ -s "$file" ] || fail "$file is empty; $(tail -n 1 err.txt 2>/dev/null)"
    for condition; do
        jq -e "$condition" "$file" >/dev/null || fail "not so: $condition, in $(head -c 600 "$file")"
    done
}

figure() { jq -r "$2" "$1"; }

now() { date +%s.%N; }

# True if the condition on numbers holds.
math() { awk "BEGIN { exit !($*) }"; }

sum() { awk "BEGIN { printf \"%.2f\", $* }"; }

# At most so many seconds, and then a fault: whatever hangs is a failure and no reason to wait. In this process group.
limit() { timeout --foreground -k 2 "$@"; }

# play SECONDS ARGUMENTS…: the exit code is in `code`, what was said in out.json and err.txt.
play() {
    local most=$1
    shift
    code=0
    limit "$most" "$ROUNDELAY" play "$@" --json >out.json 2>err.txt </dev/null || code=$?
    [ "$code" != 124 ] || fail "still running after $most s: $*; $(tail -n 1 err.txt)"
    ! grep -q "panicked" err.txt || fail "panicked: $(grep -m 1 -A 1 panicked err.txt | tr '\n' ' ')"
}

# plays SECONDS ARGUMENTS…: and that goes well.
plays() {
    play "$@"
    [ "$code" = 0 ] || fail "exit code $code: $(tail -n 1 err.txt)"
}

# plays_in_part SECONDS ARGUMENTS…: and tells that something was left out.
plays_in_part() {
    play "$@"
    [ "$code" = 3 ] || fail "exit code $code, not 3: $(tail -n 1 err.txt)"
}

# refuses SECONDS WORDS ARGUMENTS…: ends with code 1 and one clear sentence.
refuses() {
    local most=$1 words=$2 said
    shift 2
    play "$most" "$@"
    said=$(grep -m 1 '^roundelay: ' err.txt) || fail "exit code $code, and no sentence: $(tail -n 2 err.txt)"
    [ "$code" = 1 ] || fail "exit code $code: $said"
    grep -qiE "$words" <<<"$said" || fail "no word of '$words' in: $said"
    ! grep -qE 'os error|Error\(|[A-Z][a-z]+ \{' <<<"$said" || fail "not said for people: $said"
    note "$said"
}

# measure WAV ARGUMENTS…: what is in it, to WAV.json.
measure() {
    "$MEASURE" "$@" >"$1.json" || fail "no measure of $1"
}

# heard WAV RATE CHANNELS: a whole sine of 440 Hz.
heard() {
    measure "$1"
    holds "$1.json" ".rate_hz == $2" ".channels == $3" '(.frequency_hz - 440 | fabs) < 0.05' '.gaps == []' \
        '.discontinuities == 0'
    note "$(figure "$1.json" '"\(.frequency_hz) Hz, \(.frames) frames"')"
}

sine='sine=frequency=440:sample_rate=44100'
# A tone of its own for every ten seconds, from 300 Hz in steps of 10 Hz, without a jump between two.
steps='aevalsrc=0.25*sin(2*PI*(300+10*floor(t/10))*t):s=44100'

# What ffmpeg is told for a codec.
codec() {
    case $1 in
    mp3) echo "-ac 2 -c:a libmp3lame -b:a 128k -content_type audio/mpeg -f mp3" ;;
    mp3-mono) echo "-ac 1 -c:a libmp3lame -b:a 96k -content_type audio/mpeg -f mp3" ;;
    aac) echo "-ac 2 -c:a aac -b:a 128k -content_type audio/aac -f adts" ;;
    vorbis) echo "-ac 2 -c:a libvorbis -b:a 128k -content_type application/ogg -f ogg" ;;
    ogg-flac) echo "-ac 2 -c:a flac -content_type application/ogg -f ogg" ;;
    opus) echo "-ac 2 -ar 48000 -c:a libopus -b:a 128k -content_type application/ogg -f ogg" ;;
    esac
}

# station CODEC [SOURCE [ARGUMENTS…]]: on air at $url as long as the process `station` lives.
station() {
    local codec=$1 source=${2:-$sine} mount=/${PWD##*/}
    shift $(($# < 2 ? $# : 2))
    url=http://127.0.0.1:$ICECAST_PORT$mount
    # shellcheck disable=SC2046
    ffmpeg -nostdin -hide_banner -loglevel error -re -f lavfi -i "$source" "$@" -ice_name "Station of $codec" \
        $(codec "$codec") "icecast://source:source@127.0.0.1:$ICECAST_PORT$mount" 2>>ffmpeg.txt &
    station=$!
    wait_for 15 on_air "$mount" || fail "the station is not on air: $(tail -n 1 ffmpeg.txt)"
}

on_air() { curl -sf -m 2 "http://127.0.0.1:$ICECAST_PORT/status-json.xsl" | grep -q "$1\""; }

# wait_for SECONDS COMMAND…: until it succeeds.
wait_for() {
    local until
    until=$(sum "$(now) + $1")
    shift
    until "$@"; do
        math "$(now) < $until" || return 1
        sleep 0.1
    done
}

# make FILE ARGUMENTS…: a file made by ffmpeg.
make() {
    local file=$1
    shift
    ffmpeg -nostdin -hide_banner -loglevel error -y -f lavfi "$@" "$file" 2>>ffmpeg.txt || fail "ffmpeg: $(tail -n 1 ffmpeg.txt)"
}

# on_nginx FILE: its address, at full speed; `slow` in place of `fast` for one that is not.
on_nginx() {
    mkdir -p "$TMP/www/${PWD##*/}"
    ln -f "$1" "$TMP/www/${PWD##*/}/$1"
    url=http://127.0.0.1:$NGINX_PORT/${2:-fast}/${PWD##*/}/$1
}

odd() { url=http://127.0.0.1:$ODD_PORT/$1; }

jackd_start() {
    export JACK_NO_AUDIO_RESERVATION=1 JACK_DEFAULT_SERVER=${1:-rl$$}
    # There may be eight servers on a machine, and of those that were killed the places are free a while later.
    wait_for 30 jackd_starts || fail "jackd does not start: $(grep -vE 'opyright|WARRANTY|software|conditions' jackd.txt | tail -n 1)"
}
jackd_starts() {
    jackd -n "$JACK_DEFAULT_SERVER" -R -P 70 -d dummy -r 48000 -p 256 >>jackd.txt 2>&1 &
    jackd=$!
    at_the_end+=("kill $jackd")
    wait_for 10 jackd_answers && kill -0 $jackd 2>/dev/null
}
jackd_answers() { ! kill -0 $jackd 2>/dev/null || has_port system:playback_2; }

has_port() {
    local ports
    # All of it: a client that a closed pipe kills is one that the server falters over.
    ports=$(limit 3 jack_lsp 2>/dev/null) && grep -q "$1" <<<"$ports"
}

# Something with two ports that are listened to, as `jack_capture:input1` and `2`, to a file.
record_jack() {
    jack_capture -c 2 -mc --daemon -b FLOAT -f wav "$1" >jack_capture.txt 2>&1 &
    recorder=$!
    wait_for 10 has_port jack_capture:input2 || fail "nothing records JACK: $(tail -n 1 jack_capture.txt)"
    # The server refuses a client that comes while it says goodbye to another, such as the one that looked.
    sleep 0.5
}

record_end() {
    kill -INT "$recorder"
    wait "$recorder" || true
}

# --- a terminal ------------------------------------------------------------------------------------------------------

tm() { tmux -S "$PWD/tmux.sock" -f /dev/null "$@"; }

# terminal COMMAND: in a terminal of its own.
terminal() {
    at_the_end+=("tm kill-server")
    tm new-session -d -x 100 -y 24 "$1"
}

# player_in_terminal ARGUMENTS…: until it is over, when its exit code is in the file `code`.
player_in_terminal() {
    terminal "$(printf '%q ' "$ROUNDELAY" play "$@" --json) >out.json; echo \$? >code.part; mv code.part code; sleep 60"
}

screen() { tm capture-pane -p; }
shows() { screen | grep -qE "$1"; }
key() { tm send-keys "$@"; }

# The figures of the window, as they are shown.
behind() { screen | sed -nE 's/.* ([0-9.:]+)( s)? behind.*/\1/p' | seconds; }
ahead() { screen | sed -nE 's/.*behind · ([0-9.:]+)( s)? ahead.*/\1/p' | seconds; }
# Where in a file.
position() { screen | sed -nE '1s/.* ([0-9:]+) \/ .*/\1/p' | seconds; }
seconds() { awk -F: '{ n = 0; for (i = 1; i <= NF; i++) n = n * 60 + $i; printf "%.1f", n; exit }'; }

is_near() { math "$1 - $2 < $3 && $2 - $1 < $3"; }

# ended_with CODE: the player in the terminal, within some seconds, with its summary.
ended_with() {
    wait_for 8 test -s code || fail "did not end: $(screen | head -n 3)"
    [ "$(cat code)" = "$1" ] || fail "exit code $(cat code): $(screen | grep -m 1 roundelay:)"
    ! shows panicked || fail "panicked: $(screen | grep -A 1 panicked)"
}

# --- the checks ------------------------------------------------------------------------------------------------------

# Who joins an AAC station in the middle of a frame may take something in it for a header.
may_be_broken() { case ${PWD##*/} in *aac) echo 1 ;; *) echo 0 ;; esac }

# What was sent is heard, in every codec, in a file, and by JACK. The count of samples is that of the seconds.
heard_in_wav() {
    local channels=2
    [[ $1 != *mono ]] || channels=1
    plays 30 "$url" --seconds 6 --output wav:heard.wav
    heard heard.wav 44100 $channels
    holds heard.wav.json '.frames == 6 * 44100'
    holds out.json '.seconds_played == 6' ".broken <= $(may_be_broken)" '.reconnects == 0' '.laps == 0' '.first_sound_seconds < 5'
    note "first sound $(figure out.json .first_sound_seconds) s"
}

heard_by_jack() {
    jackd_start
    record_jack heard.wav
    plays 30 "$url" --seconds 8 --output jack --device jack_capture
    record_end
    measure heard.wav
    # What the machine was too late for is no fault of the player, and is counted.
    local xruns
    xruns=$(figure out.json .device.xruns)
    holds heard.wav.json '.rate_hz == 48000' '.channels == 2' '(.frequency_hz - 440 | fabs) < 0.05' \
        '(.rms_dbfs[0] - .rms_dbfs[1] | fabs) < 0.2' "(.gaps | length) <= $xruns" ".discontinuities <= $xruns" \
        '(.frames / .rate_hz - .leading_silence_seconds - .trailing_silence_seconds - 8 | fabs) < 0.1'
    holds out.json '.seconds_played == 8' '.rebuffers == 0' '.frames_missing == 0' ".broken <= $(may_be_broken)"
    note "$(figure heard.wav.json '"\(.frequency_hz) Hz"'), clock $(figure out.json .drift_ppm) ppm, $xruns xruns"
}

for name in mp3 mp3-mono aac vorbis ogg-flac; do
    eval "check_wav_${name//-/_}() { station $name; heard_in_wav $name; }"
    eval "check_jack_${name//-/_}() { station $name; heard_by_jack; }"
done
for name in wav flac; do
    eval "check_wav_$name() { odd $name; heard_in_wav $name; }"
    eval "check_jack_$name() { odd $name; heard_by_jack; }"
done

# Titles in order, and within some seconds of when they were sent.
titles_are() {
    local title last=0
    cut -f 2 titles.txt | grep -v '^Station of' >heard.txt || fail "no title was noted"
    printf '%s\n' "$@" | diff - heard.txt >diff.txt || fail "titles: $(tr '\n' '|' <heard.txt)"
    while IFS=$'\t' read -r when title; do
        [ -s "sent-$title" ] || continue
        last=$(($(date -d "$when" +%s) - $(cut -d. -f1 "sent-$title")))
        ((last >= -1 && last <= 9)) || fail "'$title' was noted $last s after it was sent"
        note "'$title' $last s after it was sent"
    done <titles.txt
}

titles_of_icecast() {
    station "$1"
    for title in "Kestrel - One" "Ämber - Zwei"; do
        sleep 4
        now >"sent-$title"
        curl -sf -m 5 -u admin:admin -G "http://127.0.0.1:$ICECAST_PORT/admin/metadata" -o /dev/null \
            --data-urlencode "mount=/${PWD##*/}" --data-urlencode mode=updinfo --data-urlencode charset=UTF-8 \
            --data-urlencode "song=$title" || fail "Icecast takes no titles"
    done &
    plays 40 "$url" --seconds 18 --output null --title-log titles.txt
    titles_are "Kestrel - One" "Ämber - Zwei"
}

check_titles_mp3() { titles_of_icecast mp3; }
check_titles_aac() { titles_of_icecast aac; }

# Ogg's own comments; each source begins a stream of its own.
check_titles_vorbis() {
    station vorbis "$sine" -metadata artist=Kestrel -metadata title=One
    (
        sleep 5
        kill "$station"
        wait_for 5 eval "! on_air /${PWD##*/}"
        now >"sent-Kestrel - Two"
        station vorbis "$sine" -metadata artist=Kestrel -metadata title=Two
        wait
    ) &
    plays 40 "$url" --seconds 12 --output null --title-log titles.txt
    titles_are "Kestrel - One" "Kestrel - Two"
    holds out.json '.reconnects >= 1'
}

# Ten seconds in which nothing comes, and then all of it at once.
check_stall() {
    station mp3
    (
        sleep 6
        kill -STOP "$station"
        sleep 10
        kill -CONT "$station"
    ) &
    limit 50 "$ROUNDELAY" play "$url" --seconds 22 --output wav:heard.wav --json >wav.json 2>wav.txt </dev/null &
    local other=$!
    plays 50 "$url" --seconds 14 --output null
    holds out.json '.seconds_played == 14' '.rebuffers >= 1' '.rebuffer_frames > 44100'
    wait $other || fail "to a file: $(tail -n 1 wav.txt)"
    measure heard.wav
    holds heard.wav.json '.frames == 22 * 44100' '(.frequency_hz - 440 | fabs) < 0.05'
    # Called again, the station sends its burst again.
    holds heard.wav.json "(.discontinuities + (.gaps | length)) <= 3 * $(figure wav.json .reconnects)"
    note "$(figure out.json '"\(.rebuffers) pauses of \(.rebuffer_frames / 44100 * 10 | floor / 10) s, \(.reconnects) reconnects"')"
}

check_source_restarted() {
    station mp3
    (
        sleep 5
        kill "$station"
        sleep 3
        station mp3
        wait
    ) &
    plays 50 "$url" --seconds 16 --output wav:heard.wav
    measure heard.wav
    holds out.json '.seconds_played == 16' '.reconnects >= 1' '.broken <= 2'
    holds heard.wav.json '.frames == 16 * 44100' '[.tones[] | select((.frequency_hz - 440 | fabs) < 0.2) | .seconds] | add > 15'
    note "$(figure out.json '"\(.reconnects) reconnects, \(.broken) broken"')"
}

# Which tone was sent in a second of the station's time: see `steps`.
# tones WAV: start, length and number of each tone in it.
tones() { jq -r '.tones[] | "\(.at_seconds) \(.seconds) \((.frequency_hz - 300) / 10)"' "$1.json"; }

# The listener goes about in the window, by keys; the screen says so, and what is heard is from there.
rewind() {
    case $1 in
    wav | flac) odd "$1-steps" ;;
    *) station "$1" "$steps" ;;
    esac
    player_in_terminal "$url" --output wav:heard.wav
    wait_for 15 shows '♪' || fail "nothing plays: $(screen | head -n 3)"
    # Long into a tone of which the beginning was heard, so that the end of the one before it comes soon.
    sleep 17
    local before after gone
    screen >before.screen
    before=$(behind) after=$(ahead)
    key Left
    sleep 1
    screen >left.screen
    math "$before - $(behind) > 8 && $before - $(behind) < 10.2" || fail "left: behind $before, then $(behind)"
    math "$(ahead) - $after > 8 && $(ahead) - $after < 13" || fail "left: ahead $after, then $(ahead)"
    note "left: behind $before to $(behind) s, ahead $after to $(ahead) s"
    sleep 3
    key Down
    sleep 1
    screen >down.screen
    math "$(behind) < 3" || fail "down: still $(behind) s behind"
    note "down: $(behind) s behind"
    sleep 3
    key l
    sleep 1
    screen >live.screen
    math "$(ahead) < 4" || fail "l: still $(ahead) s ahead"
    note "l: $(ahead) s ahead"
    sleep 2
    after=$(ahead)
    key Space
    sleep 0.6
    shows '^‖' || fail "space: $(screen | head -n 1)"
    gone=$(behind)
    sleep 3
    screen >paused.screen
    math "$(ahead) - $after > 2 && $(behind) - $gone < 0.6" || fail "paused: behind $gone, then $(behind); ahead $after, then $(ahead)"
    key Space
    sleep 2
    shows '^♪' || fail "space again: $(screen | head -n 1)"
    key q
    ended_with 0
    screen >end.screen
    holds out.json '.seeks == 3' '.laps == 0' '.reconnects == 0'
    measure heard.wav
    tones heard.wav >tones.txt
    # Tones of the station go up by one, every ten seconds, except where the listener went elsewhere.
    awk '
        function bad(what) { print what; failed = 1; exit 1 }
        { start[NR] = $1; length_[NR] = $2; tone[NR] = sprintf("%.0f", $3) }
        ($3 - tone[NR]) ^ 2 > 0.0004 { bad("no tone of the station: " $0) }
        END {
            if (failed) exit 1
            for (at = 2; at <= NR; at++) {
                jump = tone[at] - tone[at - 1]
                ups += jump == 1; downs += jump < 0
                # Ten seconds back: what was heard of a tone, and what is then heard to the end of the one before, are ten.
                if (jump == -1 && !back) {
                    back = length_[at - 1] + length_[at]
                    if (at < 3 || tone[at + 1] != tone[at] + 1) bad("came at the wrong moment")
                    if ((back - 10) ^ 2 > 0.04) bad("back by other than 10 s: " back)
                }
            }
            if (!back) bad("never went back")
            if (downs != 2) bad("went back " downs " times, not twice")
        }' tones.txt >order.txt || fail "$(cat order.txt): $(tr '\n' '|' <tones.txt)"
    only_its_own_gaps
    note "tones heard: $(awk '{ printf "%s%.0f", sep, $3; sep = " " }' tones.txt)"
}

# Silence is only what a lossy codec begins with, heard again at the beginning.
only_its_own_gaps() { holds heard.wav.json '.leading_silence_seconds as $own | [.gaps[] | select(.seconds > $own + 0.005)] == []'; }

for name in mp3 aac vorbis ogg-flac flac wav; do
    eval "check_rewind_${name//-/_}() { rewind $name; }"
done

# seek FILE: in a download that would take minutes.
seek() {
    on_nginx "$1" slow
    player_in_terminal "$url" --output wav:heard.wav
    local began took
    began=$(now)
    wait_for 15 shows '♪' || fail "nothing plays after 15 s: $(screen | head -n 3)"
    note "first heard after $(sum "$(now) - $began") s"
    sleep 4
    key Up
    key Up
    key Up
    heard_at 180 8
    note "three minutes ahead: $took s"
    screen >ahead.screen
    sleep 3
    key Left
    heard_at 174 3
    note "ten seconds back: $took s"
    key Down
    key Down
    key Down
    heard_at 2 3
    note "to the beginning: $took s"
    sleep 2
    key q
    ended_with 0
    measure heard.wav
    tones heard.wav >tones.txt
    # 0 (and 1), then 18 (and 19), then less, and nothing that is not there.
    local order
    order=$(awk '{ printf "%s%.0f", sep, $3; sep = " " }' tones.txt)
    grep -qE '^0( 1)? 18( 19)?( 17( 18)?)?( 18)? 0( 1)?$' <<<"$order" || fail "tones heard: $order"
    only_its_own_gaps
    holds out.json '.seeks >= 3' '.broken == 0'
    note "tones heard: $order"
}

# heard_at SECONDS MOST: within so long, something is heard near that place in the file; `took` says how long it was.
heard_at() {
    local began at
    began=$(now)
    # The place is shown at once; what is heard moves on from there.
    sleep 0.4
    at=$(position)
    is_near "$at" "$1" 12 || fail "is at $at s, not near $1 s: $(screen | head -n 1)"
    wait_for "$2" moved_on "$at" || fail "nothing heard at $1 s after $2 s: $(screen | head -n 2)"
    took=$(sum "$(now) - $began - 1")
}

moved_on() { shows '^♪' && math "$(position) > $1 && $(position) < $1 + 10"; }

noisy_steps='aevalsrc=0.25*sin(2*PI*(300+10*floor(t/10))*t)+0.001*(random(0)-0.5):s=44100:d=420'
check_seek_flac() {
    make tones.flac -i "$noisy_steps" -c:a flac -sample_fmt s16
    seek tones.flac
}
check_seek_mp3() {
    make tones.mp3 -i "$noisy_steps" -c:a libmp3lame -b:a 128k
    seek tones.mp3
}
check_seek_m4a() {
    make tones.m4a -i "$noisy_steps" -ac 2 -c:a aac -b:a 128k
    # The index is behind all the audio.
    math "$(grep -abo moov tones.m4a | head -n 1 | cut -d: -f1) > $(stat -c %s tones.m4a) / 2" || fail "ffmpeg put the index first"
    seek tones.m4a
}

# The audio server dies, and another comes.
check_jack_restarted() {
    station mp3
    jackd_start
    limit 60 "$ROUNDELAY" play "$url" --output jack --seconds 18 --json >out.json 2>err.txt </dev/null &
    local player=$!
    wait_for 10 has_port roundelay:left || fail "no client of JACK's: $(tail -n 1 err.txt)"
    sleep 4
    kill "$jackd"
    wait "$jackd" || true
    sleep 3
    kill -0 $player || fail "ended with the server: $(tail -n 1 err.txt)"
    jackd_start "$JACK_DEFAULT_SERVER"
    record_jack heard.wav
    wait_for 10 has_port roundelay:left || fail "not back: $(tail -n 1 err.txt)"
    jack_connect roundelay:left jack_capture:input1
    jack_connect roundelay:right jack_capture:input2
    wait $player || fail "exit code $?: $(tail -n 1 err.txt)"
    record_end
    measure heard.wav
    holds out.json '.device.stops == 1' '.seconds_played == 18'
    holds heard.wav.json '(.frequency_hz - 440 | fabs) < 0.05' '.tones[-1].seconds > 4'
    note "$(figure heard.wav.json '"\(.frequency_hz) Hz afterwards"')"
}

check_pipewire() {
    local sound=$PWD/run library
    library=$(dirname "$(find /usr/lib -path '*pipewire-0.3/jack/libjack.so.0' | head -n 1)")
    [ -e "$library/libjack.so.0" ] || skip "pipewire-jack is not installed"
    mkdir -m 700 "$sound"
    export XDG_RUNTIME_DIR=$sound DBUS_SESSION_BUS_ADDRESS=unix:path=$sound/bus
    dbus-daemon --session --nofork --nopidfile --address="$DBUS_SESSION_BUS_ADDRESS" >>pipewire.txt 2>&1 &
    wait_for 5 test -S "$sound/bus" || skip "dbus-daemon does not start: $(tail -n 1 pipewire.txt)"
    for program in pipewire wireplumber pipewire-pulse; do
        "$program" >>pipewire.txt 2>&1 &
        sleep 1
    done
    wait_for 10 limit 3 pactl info >/dev/null 2>&1 || skip "PipeWire does not start here: $(tail -n 1 pipewire.txt)"
    limit 5 pactl load-module module-null-sink sink_name=out rate=48000 >/dev/null || skip "PipeWire has no null sink"
    limit 5 pactl set-default-sink out || true
    sleep 1
    timeout --foreground -k 2 40 parec -d out.monitor --rate=48000 --channels=2 --format=float32le --file-format=wav heard.wav 2>>pipewire.txt &
    recorder=$!
    station mp3-mono
    export LD_LIBRARY_PATH=$library PIPEWIRE_LATENCY=256/48000
    plays 30 "$url" --seconds 8 --output jack
    # What the recorder is behind.
    sleep 3
    kill -INT "$recorder"
    wait "$recorder" || true
    unset LD_LIBRARY_PATH
    measure heard.wav
    holds out.json '.output == "jack"' '.seconds_played == 8'
    holds heard.wav.json '(.frequency_hz - 440 | fabs) < 0.05' '[.tones[].seconds] | add > 7.5'
    note "$(figure heard.wav.json '"\(.frequency_hz) Hz, \(.discontinuities) discontinuities"')"
}

# Files are heard whole, sample by sample where the codec is lossless.
same_samples() { # same_samples FILE WAV
    ffmpeg -nostdin -loglevel error -i "$1" -f s16le -c:a pcm_s16le sent.raw
    ffmpeg -nostdin -loglevel error -i "$2" -f s16le -c:a pcm_s16le heard.raw
    cmp sent.raw heard.raw >cmp.txt 2>&1 || fail "other samples: $(cat cmp.txt)"
}

check_file_flac() {
    make file.flac -i "$sine:duration=7" -ac 2 -c:a flac
    on_nginx file.flac
    plays 30 "$url" --output wav:heard.wav
    heard heard.wav 44100 2
    holds heard.wav.json '.frames == 7 * 44100'
    same_samples file.flac heard.wav
}
check_file_wav() {
    make file.wav -i "$sine:duration=7" -c:a pcm_s16le
    on_nginx file.wav
    plays 30 "$url" --output wav:heard.wav
    heard heard.wav 44100 1
    holds heard.wav.json '.frames == 7 * 44100'
    same_samples file.wav heard.wav
}
check_file_mp3() {
    make file.mp3 -i "$sine:duration=7" -ac 2 -c:a libmp3lame
    on_nginx file.mp3
    plays 30 "$url" --output wav:heard.wav
    measure heard.wav
    # The encoder's delay, with or without.
    holds heard.wav.json '(.frequency_hz - 440 | fabs) < 0.05' '(.frames - 7 * 44100) >= 0' '(.frames - 7 * 44100) < 3000' \
        '.gaps == []' '.discontinuities == 0'
    note "$(figure heard.wav.json '.frames - 7 * 44100') frames more than were sent"
}
check_local_file() {
    make "a file.flac" -i "$sine:duration=4" -ac 1 -c:a flac
    plays 20 "a file.flac" --output wav:heard.wav
    same_samples "a file.flac" heard.wav
    note "sample by sample"
}

# One connection, and then it is something else.
check_change_mp3_aac() {
    odd change-mp3-aac
    play 40 "$url" --seconds 12 --output wav:heard.wav
    [ "$code" = 0 ] || fail "exit code $code: $(tail -n 1 err.txt)"
    measure heard.wav
    holds heard.wav.json '[.tones[] | select(.seconds > 3) | .frequency_hz | round] == [440, 550, 660]'
    note "$(figure heard.wav.json '[.tones[].frequency_hz] | join(" Hz, ")') Hz, $(figure out.json .broken) broken"
}
check_change_rate() {
    odd change-rate
    plays 40 "$url" --seconds 8 --output wav:heard.wav
    measure heard.wav
    holds heard.wav.json '[.tones[] | select(.seconds > 3) | .frequency_hz | round] == [440, 550]' '.frames == 8 * .rate_hz'
    note "$(figure heard.wav.json '[.tones[].frequency_hz] | join(" Hz, ")') Hz, $(figure out.json .broken) broken"
}
check_chained_ogg() {
    odd chained-ogg
    plays 40 "$url" --seconds 12 --output wav:heard.wav --title-log titles.txt
    measure heard.wav
    holds heard.wav.json '[.tones[] | select(.seconds > 3) | .frequency_hz | round] == [440, 550, 660]' '.frames == 12 * .rate_hz'
    holds out.json '.broken == 0'
    [ "$(cut -f 2 titles.txt | grep -v '^chained' | tr '\n' '|')" = "A - One|B - Two|C - Three|" ] || fail "titles: $(cut -f 2 titles.txt | tr '\n' '|')"
    note "$(figure heard.wav.json '[.tones[].frequency_hz] | join(" Hz, ")') Hz, three titles"
}
check_icy_answer() {
    odd icy
    plays 30 "$url" --seconds 8 --output wav:heard.wav --title-log titles.txt
    heard heard.wav 44100 2
    grep -q 'An old station' err.txt || fail "no name: $(tail -n 1 err.txt)"
    # It is no title.
    ! grep -q 'An old station' titles.txt || fail "the name stands in the log of titles"
}
check_redirect() {
    station mp3
    odd "redirect/${PWD##*/}"
    plays 30 "$url" --seconds 4 --output wav:heard.wav
    heard heard.wav 44100 2
}

# damage FILE: some bytes in its middle are others.
damage() {
    local at
    at=$(($(stat -c %s "$1") / 2))
    head -c 3000 /dev/zero | tr '\0' '\252' | dd of="$1" bs=1 seek=$at conv=notrunc status=none
}
broken() {
    damage "$1"
    on_nginx "$1"
    plays_in_part 30 "$url" --output wav:heard.wav
    measure heard.wav
    holds out.json '.broken >= 1'
    holds heard.wav.json '.frames > 7 * 44100' '[.tones[] | select((.frequency_hz - 440 | fabs) < 0.1) | .seconds] | add > 7'
    note "$(figure out.json '"\(.broken) broken"'), $(figure heard.wav.json '"\(.seconds) of 8 s heard"')"
}
check_broken_mp3() {
    make file.mp3 -i "$sine:duration=8" -ac 2 -c:a libmp3lame -b:a 128k
    broken file.mp3
}
check_broken_flac() {
    make file.flac -i "aevalsrc=0.25*sin(2*PI*440*t)+0.001*(random(0)-0.5):s=44100:d=8" -ac 2 -c:a flac -sample_fmt s16
    broken file.flac
}

# What cannot be played.
check_unreachable() { refuses 20 'refused' "http://127.0.0.1:$CLOSED_PORT/live" --output null; }
check_unknown_host() { refuses 20 'host|name|address|resolve' "http://no-such-host.invalid/live" --output null; }
check_not_found() { refuses 20 '404' "http://127.0.0.1:$ICECAST_PORT/no-such-mount" --output null; }
check_page() {
    odd html
    refuses 20 'page' "$url" --output null
}
check_opus() {
    station opus
    refuses 20 'opus' "$url" --output null
}
check_random_bytes() {
    odd random
    refuses 40 'no audio' "$url" --output null
}
check_silent_server() {
    odd hang
    refuses 25 'answer|time' "$url" --output null
}
# Without the right to real-time scheduling it plays, and says so.
check_no_real_time() {
    [ "$(id -u)" = 0 ] || skip "only root can become nobody"
    station mp3
    chmod 777 .
    code=0
    limit 30 setpriv --reuid=nobody --regid=nogroup --clear-groups --inh-caps=-all --bounding-set=-all \
        prlimit --rtprio=0 "$ROUNDELAY" play "$url" --output null --seconds 4 --json >out.json 2>err.txt </dev/null || code=$?
    [ "$code" = 0 ] || fail "exit code $code: $(tail -n 1 err.txt)"
    holds out.json '.scheduling | test("refused")' '.seconds_played == 4'
    note "$(figure out.json .scheduling)"
}

# Playlists.
needs_playlists() { ! grep -q '^//! Stub' "$REPOSITORY/player/src/playlist.rs" || skip "there is no parser of playlists yet"; }
playlist() { # playlist NAME TYPE TEXT
    mkdir -p "$TMP/www/${PWD##*/}"
    printf '%b' "$2" >"$TMP/www/${PWD##*/}/$1"
    url=http://127.0.0.1:$NGINX_PORT/fast/${PWD##*/}/$1
}
check_playlist_m3u() {
    needs_playlists
    station mp3
    playlist radio.m3u "\xef\xbb\xbf#EXTM3U\r\n#EXTINF:-1,A station\r\n\r\nhttp://127.0.0.1:$CLOSED_PORT/gone\r\n$url\r\n"
    plays_in_part 30 "$url" --seconds 4 --output wav:heard.wav
    heard heard.wav 44100 2
}
check_playlist_pls() {
    needs_playlists
    station mp3
    playlist radio.pls "[playlist]\nNumberOfEntries=1\nFile1=$url\nTitle1=A station\nLength1=-1\nVersion=2\n"
    plays 30 "$url" --seconds 4 --output wav:heard.wav
    heard heard.wav 44100 2
}
check_playlist_loop() {
    needs_playlists
    playlist loop.m3u "#EXTM3U\nhttp://127.0.0.1:$NGINX_PORT/fast/${PWD##*/}/loop.m3u\n"
    refuses 20 'playlist' "$url" --output null
}
check_playlist_hls() {
    needs_playlists
    playlist live.m3u8 "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:4.0,\nseg7.ts\n"
    refuses 20 'HLS' "$url" --output null
}
check_playlist_empty() {
    needs_playlists
    playlist empty.m3u "#EXTM3U\n\n"
    refuses 20 'playlist' "$url" --output null
}

# It ends when it is told to, with its summary, and with the terminal as it was.
ends_by() {
    station mp3
    # A function would be in a shell of its own, which is told in place of the player.
    timeout --foreground -k 2 40 "$ROUNDELAY" play "$url" --output wav:heard.wav >out.txt 2>err.txt </dev/null &
    local player=$! began
    wait_for 15 test -s heard.wav || fail "nothing plays: $(tail -n 1 err.txt)"
    sleep 3
    # `timeout` hands it on.
    began=$(now)
    kill "-$1" $player
    code=0
    wait $player || code=$?
    math "$(now) - $began < 2" || fail "took $(sum "$(now) - $began") s to end"
    [ "$code" = 0 ] || fail "exit code $code: $(tail -n 1 err.txt)"
    grep -q '^played ' out.txt || fail "no summary: $(head -n 1 out.txt)"
    measure heard.wav
    holds heard.wav.json '(.frequency_hz - 440 | fabs) < 0.05' '.discontinuities == 0'
    note "$(head -n 1 out.txt)"
}
check_interrupt() { ends_by INT; }
check_terminate() { ends_by TERM; }

# Without a terminal it just plays, and nothing but lines of text comes out.
check_no_terminal() {
    station mp3
    limit 30 "$ROUNDELAY" play "$url" --output null --seconds 7 >out.txt 2>err.txt </dev/null || fail "exit code $?"
    ! grep -q $'\e' out.txt err.txt || fail "escape sequences in a log"
    grep -q 'behind' err.txt || fail "no line of status in: $(head -c 200 err.txt)"
    note "$(tail -n 1 err.txt)"
}

check_suspend_resize() {
    station mp3
    terminal "PS1='prompt> ' bash --norc -i"
    wait_for 5 shows '^prompt>' || fail "no shell"
    key "$(printf '%q ' "$ROUNDELAY" play "$url" --output null)" Enter
    wait_for 15 shows '^♪' || fail "nothing plays: $(screen | head -n 3)"
    sleep 1
    key C-z
    wait_for 4 shows 'Stopped' || fail "not suspended: $(screen | tail -n 5)"
    screen >suspended.screen
    key 'echo ty""ped' Enter
    wait_for 3 shows '^typed' || fail "the terminal does not show what is typed: $(screen)"
    stopped_draws_nothing
    # In the background it plays on, whatever is typed for the shell.
    key bg Enter
    sleep 1
    key 'true typed' Enter
    sleep 1
    [[ $(ps -o stat= --ppid "$(tm display-message -p '#{pane_pid}')") != T* ]] || fail "stopped by what was typed for others"
    key fg Enter
    sleep 2
    screen >resumed.screen
    wait_for 4 last_block_is_whole || fail "not drawn anew: $(screen)"
    for size in "60 24" "100 24" "30 10" "100 24"; do
        tm resize-window -x "${size% *}" -y "${size#* }"
        sleep 0.7
        screen >"resized-${size/ /x}.screen"
    done
    wait_for 3 last_block_is_whole || fail "after a resize: $(screen)"
    # Every size leaves at most one old copy above.
    [ "$(screen | grep -c 'behind')" -le 4 ] || fail "old copies stay: $(screen)"
    key q
    wait_for 5 shows '^played' || fail "no summary: $(screen)"
    key 'echo al""ive' Enter
    wait_for 3 shows '^alive' || fail "the terminal was not given back: $(screen)"
    screen >end.screen
    [ "$(tm display-message -p '#{cursor_flag}')" = 1 ] || fail "no cursor"
    note "suspended, in the background, resumed, resized four times"
}
stopped_draws_nothing() {
    local first
    first=$(screen)
    sleep 1
    [ "$(screen)" = "$first" ] || fail "drawn while suspended: $(screen)"
}
last_block_is_whole() { screen | grep -v '^$' | tail -n 6 | head -n 1 | grep -q '^♪'; }

# --- a server that is odd: one connection, on standard input and output ------------------------------------------------

answer() {
    local path line
    read -r _ path _ || exit 0
    while read -r line && [ "${line%$'\r'}" ]; do :; done
    head() { printf 'HTTP/1.1 200 OK\r\nContent-Type: %s\r\nConnection: close\r\n\r\n' "$1"; }
    # send SOURCE ARGUMENTS…: as fast as it is played.
    send() {
        local source=$1
        shift
        ffmpeg -nostdin -loglevel quiet -re -f lavfi -i "$source" "$@" -
    }
    # paced HZ RATE ARGUMENTS…
    paced() {
        local hz=$1 rate=$2
        shift 2
        send "sine=frequency=$hz:sample_rate=$rate" "$@"
    }
    case $path in
    /icy)
        printf 'ICY 200 OK\r\nicy-name:An old station\r\nicy-br:128\r\ncontent-type:audio/mpeg\r\n\r\n'
        paced 440 44100 -ac 2 -c:a libmp3lame -b:a 128k -f mp3
        ;;
    /wav)
        head audio/wav
        paced 440 44100 -ac 2 -c:a pcm_s16le -f wav
        ;;
    /flac)
        head audio/flac
        paced 440 44100 -ac 2 -c:a flac -f flac
        ;;
    /wav-steps)
        head audio/wav
        send "$steps" -ac 2 -c:a pcm_s16le -f wav
        ;;
    /flac-steps)
        head audio/flac
        send "$steps" -ac 2 -c:a flac -sample_fmt s16 -f flac
        ;;
    /change-mp3-aac)
        head audio/mpeg
        paced 440 44100 -t 4.5 -ac 2 -c:a libmp3lame -b:a 128k -write_xing 0 -id3v2_version 0 -f mp3
        paced 550 44100 -t 4 -ac 2 -c:a aac -b:a 128k -f adts
        paced 660 44100 -ac 2 -c:a libmp3lame -b:a 128k -write_xing 0 -id3v2_version 0 -f mp3
        ;;
    /change-rate)
        head audio/mpeg
        paced 440 44100 -t 4.2 -ac 2 -c:a libmp3lame -b:a 128k -write_xing 0 -id3v2_version 0 -f mp3
        paced 550 48000 -ac 2 -c:a libmp3lame -b:a 128k -write_xing 0 -id3v2_version 0 -f mp3
        ;;
    /chained-ogg)
        head application/ogg
        paced 440 44100 -t 4.3 -metadata artist=A -metadata title=One -ac 2 -c:a libvorbis -f ogg
        paced 550 48000 -t 4 -metadata artist=B -metadata title=Two -ac 1 -c:a libvorbis -f ogg
        paced 660 44100 -metadata artist=C -metadata title=Three -ac 2 -c:a flac -f ogg
        ;;
    /redirect/*) printf 'HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%s/%s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' "$ICECAST_PORT" "${path#/redirect/}" ;;
    /html)
        head text/html
        echo '<html><body>Listen here!</body></html>'
        ;;
    /random)
        head audio/mpeg
        cat /dev/urandom
        ;;
    /hang) sleep 60 ;;
    *) printf 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' ;;
    esac
}

# --- all of them -----------------------------------------------------------------------------------------------------

install() {
    local command missing=()
    declare -A package=([jackd]=jackd2 [jack_lsp]=jackd2 [jack_capture]=jack-capture [icecast2]=icecast2 [ffmpeg]=ffmpeg [nginx]=nginx-light [tmux]=tmux
        [curl]=curl [jq]=jq [socat]=socat [setpriv]=util-linux [pipewire]="pipewire pipewire-jack" [wireplumber]=wireplumber
        [pipewire-pulse]=pipewire-pulse [pactl]=pulseaudio-utils [dbus-daemon]=dbus)
    for command in "${!package[@]}"; do
        command -v "$command" >/dev/null || missing+=("${package[$command]}")
    done
    [ ${#missing[@]} = 0 ] && return
    echo "installing: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2068
    { apt-get update && apt-get install -y --no-install-recommends ${missing[@]}; } >"$TMP/apt.txt" 2>&1 ||
        { tail -n 5 "$TMP/apt.txt"; exit 1; }
}

free_ports() { # free_ports N: ports that nobody listens to
    local port
    for port in $(shuf -i 20000-32000 -n 200); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || echo "$port"
    done | head -n "$1"
}

servers=()
groups=()
finish() {
    trap - EXIT INT TERM
    local group server
    # Said by a helper of the checks, if this is none.
    [ ! -s failed ] || echo "failed: $(cat failed)"
    end_others
    for group in "${groups[@]}"; do end_group "$group"; done
    for server in "${servers[@]}"; do kill "$server" 2>/dev/null || true; done
    wait
    if [ "${KEEP:-}" ]; then echo "left: $TMP"; else rm -rf "$TMP"; fi
}

# A check is a process group of its own, with all that it started.
end_group() {
    kill -0 -- "-$1" 2>/dev/null || return 0
    kill -TERM -- "-$1" 2>/dev/null || true
    kill -CONT -- "-$1" 2>/dev/null || true
    for _ in 1 2 3 4 5 6 7 8; do
        kill -0 -- "-$1" 2>/dev/null || return 0
        sleep 0.25
    done
    kill -KILL -- "-$1" 2>/dev/null || true
}

start_servers() {
    # shellcheck disable=SC2207
    local ports=($(free_ports 4)) user=""
    export ICECAST_PORT=${ports[0]} NGINX_PORT=${ports[1]} ODD_PORT=${ports[2]} CLOSED_PORT=${ports[3]}
    mkdir -p "$TMP/icecast" "$TMP/nginx" "$TMP/www"
    if [ "$(id -u)" = 0 ]; then
        chmod 755 "$TMP"
        chmod 777 "$TMP/icecast"
        user="<changeowner><user>nobody</user><group>nogroup</group></changeowner>"
    fi
    cat >"$TMP/icecast.xml" <<XML
<icecast>
  <limits>
    <clients>200</clients><sources>60</sources><queue-size>2097152</queue-size><burst-size>65535</burst-size>
    <client-timeout>30</client-timeout><header-timeout>15</header-timeout><source-timeout>30</source-timeout>
  </limits>
  <authentication>
    <source-password>source</source-password><admin-user>admin</admin-user><admin-password>admin</admin-password>
  </authentication>
  <hostname>127.0.0.1</hostname>
  <listen-socket><port>$ICECAST_PORT</port><bind-address>127.0.0.1</bind-address></listen-socket>
  <mount type="default"><charset>UTF-8</charset></mount>
  <paths>
    <basedir>$TMP/icecast</basedir><logdir>$TMP/icecast</logdir>
    <webroot>/usr/share/icecast2/web</webroot><adminroot>/usr/share/icecast2/admin</adminroot>
  </paths>
  <logging><accesslog>access.log</accesslog><errorlog>error.log</errorlog><loglevel>3</loglevel></logging>
  <security><chroot>0</chroot>$user</security>
</icecast>
XML
    cat >"$TMP/nginx.conf" <<NGINX
daemon off;
pid $TMP/nginx/pid;
error_log $TMP/nginx/error.log;
worker_processes 1;
events { worker_connections 256; }
http {
    access_log $TMP/nginx/access.log;
    client_body_temp_path $TMP/nginx/body;
    proxy_temp_path $TMP/nginx/proxy;
    fastcgi_temp_path $TMP/nginx/fastcgi;
    uwsgi_temp_path $TMP/nginx/uwsgi;
    scgi_temp_path $TMP/nginx/scgi;
    types {
        audio/flac flac; audio/mpeg mp3; audio/mp4 m4a; audio/wav wav; audio/x-mpegurl m3u; audio/x-scpls pls;
        application/vnd.apple.mpegurl m3u8;
    }
    server {
        listen 127.0.0.1:$NGINX_PORT;
        location /fast/ { alias $TMP/www/; }
        location /slow/ { alias $TMP/www/; limit_rate 20k; limit_rate_after 64k; }
    }
}
NGINX
    if [ "$(id -u)" = 0 ]; then sed -i '1i user root;' "$TMP/nginx.conf"; fi
    icecast2 -c "$TMP/icecast.xml" >"$TMP/icecast.txt" 2>&1 &
    servers+=($!)
    nginx -e "$TMP/nginx/error.log" -c "$TMP/nginx.conf" >"$TMP/nginx.txt" 2>&1 &
    servers+=($!)
    socat "TCP-LISTEN:$ODD_PORT,bind=127.0.0.1,fork,reuseaddr" "EXEC:$self --answer" 2>"$TMP/socat.txt" &
    servers+=($!)
    local port
    for port in "$ICECAST_PORT" "$NGINX_PORT" "$ODD_PORT"; do
        wait_for 10 eval "(exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null" ||
            { echo "a server does not start: $(tail -n 2 "$TMP"/*.txt)"; exit 1; }
    done
}

declare -A name_of
passed=0 failed=0 skipped=0
reap() { # one check has ended
    local group name place
    wait -n -p group "${groups[@]}" || true
    name=${name_of[$group]}
    place=$TMP/$name
    end_group "$group"
    local -a others=()
    for other in "${groups[@]}"; do [ "$other" = "$group" ] || others+=("$other"); done
    groups=("${others[@]}")
    local seconds=$((SECONDS - began[$group]))
    if [ -e "$place/failed" ]; then
        failed=$((failed + 1))
        printf 'FAILED  %-18s %3d s  %s\n' "$name" "$seconds" "$(cat "$place/failed")"
    elif [ -e "$place/skipped" ]; then
        skipped=$((skipped + 1))
        printf 'skipped %-18s %3d s  %s\n' "$name" "$seconds" "$(cat "$place/skipped")"
    elif [ -e "$place/passed" ]; then
        passed=$((passed + 1))
        printf 'ok      %-18s %3d s  %s\n' "$name" "$seconds" "$(sed 's/; $//' "$place/notes" 2>/dev/null)"
    else
        failed=$((failed + 1))
        printf 'FAILED  %-18s %3d s  %s\n' "$name" "$seconds" "the check itself: $(tail -n 2 "$place/check.txt" | tr '\n' ' ')"
    fi
}

declare -A began
# Everything that checks need: the program, and servers.
begin() {
    TMP=$(mktemp -d "${TMPDIR:-/tmp}/roundelay-live.XXXXXX")
    export TMP REPOSITORY=$PWD
    trap finish EXIT
    trap 'exit 130' INT TERM
    install
    local target
    target=$(cargo metadata --no-deps --format-version 1 | jq -r .target_directory)
    cargo build --release --quiet -p roundelay-player --bins --example measure
    # Copies: nobody else may have the right to the originals, and a build meanwhile changes nothing.
    cp "$target/release/roundelay" "$target/release/examples/measure" "$TMP"
    export ROUNDELAY=$TMP/roundelay MEASURE=$TMP/measure
    start_servers
}

main() {
    local name
    for name in "$@"; do
        [[ " ${checks[*]} " == *" $name "* ]] || { echo "no check is called $name; see --list"; exit 2; }
    done
    [ $# -gt 0 ] || set -- "${checks[@]}"
    begin
    for name; do
        while [ ${#groups[@]} -ge "${JOBS:-4}" ]; do reap; done
        mkdir -p "$TMP/$name"
        setsid "$self" --check "$name" >"$TMP/$name/check.txt" 2>&1 </dev/null &
        groups+=($!)
        name_of[$!]=$name
        began[$!]=$SECONDS
    done
    while [ ${#groups[@]} -gt 0 ]; do reap; done
    printf '%d passed, %d failed' "$passed" "$failed"
    [ $skipped = 0 ] || printf ', %d skipped' "$skipped"
    printf '\n'
    [ "$failed" = 0 ]
}

case ${1:-} in
--list) printf '%s\n' "${checks[@]}" ;;
--answer) answer ;;
# For ci/listen.sh.
--sourced) ;;
--check)
    cd "$TMP/$2"
    trap end_others EXIT
    "check_${2//-/_}"
    : >passed
    ;;
*) main "$@" ;;
esac
