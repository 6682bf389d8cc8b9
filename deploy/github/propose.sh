#!/bin/bash
# Opens or renews a pull request with the locks in the folder that is named. What is in there was made in a job that
# talked to registries: only lock files are taken, and text is shown where it can be nothing but text.
#
#     propose.sh FOLDER      FOLDER/locks/*.yaml, FOLDER/summary.json
#
# GH_TOKEN is the only secret; it is given to git and gh in the environment and is never written to a file.
set -euo pipefail

from=$1
branch=refresh-locks
largest=1048576
name_of_a_lock='^[a-z0-9][a-z0-9._-]*\.yaml$'

take_locks() {
    local file name
    for file in "$from"/locks/*; do
        name=${file##*/}
        if [[ ! $name =~ $name_of_a_lock || ! -f $file || -L $file ]] || (($(stat --format %s -- "$file") > largest)); then
            echo "propose.sh: error: a file that is no lock is among the locks; nothing is proposed" >&2
            exit 1
        fi
        cp --no-dereference -- "$file" "config/locks/$name"
    done
}

# Fenced: in a code block nobody is mentioned, and no link or image is made. Without backticks nothing ends the block.
body() {
    echo "What the tags of these images mean has changed. The registries' answers, as text:"
    echo
    echo '````json'
    head --bytes 50000 -- "$from/summary.json" | tr '\140' "'" | tr --complement --delete '\12\40-\176'
    echo
    echo '````'
}

push() {
    # shellcheck disable=SC2016 # the helper's own shell expands the variable
    git -c credential.helper= -c credential.helper='!f() { echo username=x-access-token; echo "password=$GH_TOKEN"; }; f' \
        push --quiet --force origin "$branch"
}

mkdir -p config/locks
take_locks
git add config/locks
git diff --cached --quiet && exit 0
git switch --quiet --create "$branch"
git -c user.name="github-actions[bot]" -c user.email="41898282+github-actions[bot]@users.noreply.github.com" \
    commit --quiet --message "Refresh image locks"
push
body > "$from/body.md"
if gh pr view "$branch" --json state --jq .state 2>/dev/null | grep --quiet --line-regexp OPEN; then
    gh pr edit "$branch" --body-file "$from/body.md"
else
    gh pr create --head "$branch" --title "Refresh image locks" --body-file "$from/body.md"
fi
