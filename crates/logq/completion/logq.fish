# Completion of logq for fish. In ~/.config/fish/config.fish: logq completion fish | source
function __logq_words
    set -l line (commandline -cp | string collect)
    for word in (command logq complete-words fish -- "$line" 2>/dev/null)
        if test "$word" = files
            __fish_complete_path (commandline -ct)
        else
            printf '%s\n' $word
        end
    end
end
complete -c logq -f -k -a '(__logq_words)'
