namespace Kvm.Devices.Block;

/// <summary>Tags of requests in a row, linked through an array that has a place for each; a tag is in one list at most.</summary>
internal struct TagList
{
    private int _last;

    public static TagList Empty => new() { First = -1, _last = -1 };

    public int First { get; private set; }

    public readonly bool IsEmpty => First < 0;

    public void AddLast(int[] next, int tag)
    {
        next[tag] = -1;
        if (IsEmpty)
            First = tag;
        else
            next[_last] = tag;
        _last = tag;
    }

    public void AddFirst(int[] next, int tag)
    {
        next[tag] = First;
        if (IsEmpty)
            _last = tag;
        First = tag;
    }

    public int RemoveFirst(int[] next)
    {
        int tag = First;
        First = next[tag];
        return tag;
    }
}
