# What the scripts of the machine share: sourced, with DIR for what they write.
fail() {
    echo "$*" >&2
    exit 1
}

same() { # what, have, want
    [ "$2" = "$3" ] || fail "$1 is \"$2\", not \"$3\""
}

promise() { # text, function
    (set -e; $2) >$DIR/out 2>&1 # not as a condition: there -e has no effect, nor in what is below it
    if [ $? = 0 ]; then
        echo "@ok $1"
    else
        sed 's/^/| /' $DIR/out
        echo "@FAILED $1"
    fi
}
