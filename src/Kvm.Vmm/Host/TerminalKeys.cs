namespace Kvm.Vmm.Host;

/// <summary>What the user asked of the program itself, from the guest's console.</summary>
public enum TerminalCommand
{
    /// <summary>Ctrl-A x: end the guest.</summary>
    Quit,

    /// <summary>Ctrl-A h: show the keys.</summary>
    Help,
}

/// <summary>
/// Finds the keys that are ours in what is typed: Ctrl-A x, Ctrl-A h, and Ctrl-A Ctrl-A for one Ctrl-A. After Ctrl-A any other key
/// is passed on with it. A pure state machine: keys may arrive in any pieces. Not thread-safe.
/// </summary>
public sealed class TerminalKeys
{
    /// <summary>Ctrl-A.</summary>
    public const byte Prefix = 0x01;

    private bool _prefixed;

    /// <summary>The most bytes that <see cref="Feed"/> passes on for a number of bytes typed: a Ctrl-A held back may come out with them.</summary>
    /// <param name="typed">Bytes typed.</param>
    public static int MostPassedOn(int typed) => typed + 1;

    /// <summary>Takes what was typed.</summary>
    /// <param name="typed">The bytes.</param>
    /// <param name="guest">Takes what belongs to the guest; at least <see cref="MostPassedOn"/> bytes.</param>
    /// <param name="command">Called for each command, in order.</param>
    /// <returns>How many bytes were put into <paramref name="guest"/>.</returns>
    public int Feed(ReadOnlySpan<byte> typed, Span<byte> guest, Action<TerminalCommand> command)
    {
        ArgumentNullException.ThrowIfNull(command);
        var count = 0;
        foreach (var key in typed)
        {
            if (!_prefixed)
            {
                if (key == Prefix)
                    _prefixed = true;
                else
                    guest[count++] = key;
                continue;
            }

            _prefixed = false;
            switch (key)
            {
                case (byte)'x':
                    command(TerminalCommand.Quit);
                    break;
                case (byte)'h':
                    command(TerminalCommand.Help);
                    break;
                case Prefix:
                    guest[count++] = Prefix;
                    break;
                default:
                    guest[count++] = Prefix;
                    guest[count++] = key;
                    break;
            }
        }

        return count;
    }
}
