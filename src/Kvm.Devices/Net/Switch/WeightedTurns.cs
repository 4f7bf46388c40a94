namespace Kvm.Devices.Net.Switch;

/// <summary>
/// Whose frame goes to the uplink next: deficit round robin (Shreedhar and Varghese, 1996). In a turn a port may send as many bytes as its weight gives it, and what it did
/// not use; one that has nothing to send keeps nothing. One thread at a time.
/// </summary>
internal sealed class WeightedTurns
{
    // With the usual weight of 100 a turn is a packet of 1,500 bytes.
    private const long BytesPerWeight = 16;

    private int _turn;
    private bool _granted;
    private SwitchPort? _current;

    /// <summary>The queue whose first frame is next, the same again until it was taken; null if none waits.</summary>
    /// <param name="ports">All ports by their numbers.</param>
    public FrameRing? Next(SwitchPort?[] ports)
    {
        if (_current is not null)
            return _current.ForUplink;
        while (true)
        {
            for (int i = 0; i <= ports.Length; i++)
            {
                if (_turn >= ports.Length)
                    (_turn, _granted) = (0, false);
                if (MayGo(ports[_turn]))
                {
                    _current = ports[_turn];
                    return _current!.ForUplink;
                }

                (_turn, _granted) = (_turn + 1, false);
            }

            if (!GiveTurns(ports))
                return null;
        }
    }

    /// <summary>The frame that was next is gone.</summary>
    /// <param name="length">Its bytes, header and all.</param>
    public void Took(int length)
    {
        if (_current is { } port)
            port.Deficit -= length;
        _current = null;
    }

    private bool MayGo(SwitchPort? port)
    {
        if (port?.ForUplink is not { } queue)
            return false;
        if (queue.Count == 0)
        {
            port.Deficit = 0;
            return false;
        }

        if (!_granted)
            port.Deficit += port.Options.Weight * BytesPerWeight;
        _granted = true;
        return queue.Peek().Length <= port.Deficit;
    }

    /// <summary>After a round in which nobody could go: as many rounds at once as the next one needs, less the one that is walked. False if nobody waits.</summary>
    private static bool GiveTurns(SwitchPort?[] ports)
    {
        long rounds = long.MaxValue;
        foreach (var port in ports)
        {
            if (port?.ForUplink is { Count: > 0 } queue)
            {
                long turn = port.Options.Weight * BytesPerWeight;
                rounds = Math.Min(rounds, Math.Max(0, (queue.Peek().Length - port.Deficit + turn - 1) / turn - 1));
            }
        }

        if (rounds == long.MaxValue)
            return false;
        foreach (var port in ports)
        {
            if (port?.ForUplink is { Count: > 0 })
                port.Deficit += rounds * port.Options.Weight * BytesPerWeight;
        }

        return true;
    }
}
