namespace Kvm.Devices.Block;

/// <summary>
/// Lets one queue of an image flush the file at a time. Of two flushes at once Linux tells one that pages are lost, and the other, which covers
/// the same pages, that all is well (<see cref="RawImage.Flushed"/>): what the second was for would be acknowledged.
/// </summary>
/// <param name="queues">How many there are.</param>
/// <remarks>Not thread-safe: queues of a disk are used by one thread at a time. Allocates nothing.</remarks>
internal sealed class FlushTurns(int queues)
{
    private readonly List<RawQueue> _waiting = new(queues);
    private RawQueue? _current;

    /// <summary>Takes the turn; false where another has it: <see cref="RawQueue.FlushNow"/> is called then when it comes, once.</summary>
    public bool Take(RawQueue queue)
    {
        if (_current is null)
        {
            _current = queue;
            return true;
        }

        if (!_waiting.Contains(queue))
            _waiting.Add(queue);
        return false;
    }

    /// <summary>Waits until the flush of whose turn it is may have ended.</summary>
    public void WaitForCurrent() => _current?.Drive();

    /// <summary>Gives up the turn, or the wish for it.</summary>
    public void Leave(RawQueue queue)
    {
        if (_current != queue)
        {
            _waiting.Remove(queue);
            return;
        }

        _current = _waiting.Count > 0 ? _waiting[0] : null;
        if (_current is null)
            return;
        _waiting.RemoveAt(0);
        _current.FlushNow();
    }
}
