namespace Kvm.Vmm.Virtio;

/// <summary>
/// How long a card's thread looks for what a guest answers to frames it just got. A guest that is at work on them answers sooner than a thread can sleep and be woken; one that
/// does not answer, as whoever downloads a file, is soon looked at for one batch of frames in <see cref="Rarely"/>. Not thread-safe.
/// </summary>
internal struct AnswerWindow
{
    /// <summary>
    /// The longest look, in nanoseconds: less than a sleep and a wake-up take, so that no more is lost than won, and little enough for whoever waits for this processor.
    /// </summary>
    public const long Longest = 10_000;

    /// <summary>Looks in vain in a row after which it is looked rarely.</summary>
    public const int Patience = 8;

    /// <summary>One batch of how many is looked at then.</summary>
    public const int Rarely = 32;

    private int _inVain;

    /// <summary>Nanoseconds to look for an answer to the frames that just came; 0 is not to look.</summary>
    public readonly long Nanoseconds => _inVain < Patience || _inVain % Rarely == 0 ? Longest : 0;

    /// <summary>What became of one batch of frames.</summary>
    public void Saw(bool answer) => _inVain = answer ? 0 : _inVain == int.MaxValue ? Patience : _inVain + 1;
}
