# Completion of logq for bash. In ~/.bashrc: source <(logq completion bash)
_logq() {
    local word
    COMPREPLY=()
    # Words that are whole bring their blank with them.
    compopt -o nospace 2>/dev/null
    while IFS= read -r word; do
        if [[ $word == files ]]; then
            compopt +o nospace -o filenames -o default 2>/dev/null
        else
            COMPREPLY+=("${word#=}")
        fi
    done < <(command logq complete-words bash --breaks="$COMP_WORDBREAKS" -- "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
}
complete -F _logq logq
