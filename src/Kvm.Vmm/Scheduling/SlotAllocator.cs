namespace Kvm.Vmm.Scheduling;

/// <summary>Gives out runs of consecutive slots, the lowest that fits. Not thread-safe.</summary>
internal sealed class SlotAllocator(int slots)
{
    private readonly SortedList<int, int> _free = new() { [0] = slots };

    /// <summary>The first of so many slots, or −1 where there is no such run.</summary>
    public int Take(int count)
    {
        for (int i = 0; i < _free.Count; i++)
        {
            int start = _free.GetKeyAtIndex(i), length = _free.GetValueAtIndex(i);
            if (length < count)
                continue;
            _free.RemoveAt(i);
            if (length > count)
                _free[start + count] = length - count;
            return start;
        }

        return -1;
    }

    /// <summary>Takes a run back.</summary>
    public void Return(int start, int count)
    {
        _free[start] = count;
        int at = _free.IndexOfKey(start);
        Join(at);
        if (at > 0)
            Join(at - 1);
    }

    private void Join(int at)
    {
        if (at + 1 >= _free.Count || _free.GetKeyAtIndex(at) + _free.GetValueAtIndex(at) != _free.GetKeyAtIndex(at + 1))
            return;
        _free[_free.GetKeyAtIndex(at)] = _free.GetValueAtIndex(at) + _free.GetValueAtIndex(at + 1);
        _free.RemoveAt(at + 1);
    }
}
