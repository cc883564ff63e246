#compdef logq
# Completion of logq for zsh. In ~/.zshrc, behind compinit: source <(logq completion zsh)
_logq() {
    local kind text about files line
    local -a whole whole_shown open open_shown
    line="${(j: :)words[1,CURRENT-1]} $QIPREFIX$PREFIX"
    while IFS=$'\t' read -r kind text about; do
        case $kind in
            whole) whole+=("$text"); whole_shown+=("$text${about:+  -- $about}") ;;
            open) open+=("$text"); open_shown+=("$text${about:+  -- $about}") ;;
            files) files=1 ;;
        esac
    done < <(command logq complete-words zsh -- "$line" 2>/dev/null)
    (( $#whole )) && compadd -l -d whole_shown -a whole
    (( $#open )) && compadd -S '' -d open_shown -a open
    [[ -n $files ]] && _files
}
if [[ $funcstack[1] == _logq ]]; then
    _logq "$@"
else
    compdef _logq logq
fi
