namespace Kvm.Devices.Block.Scheduling;

/// <summary>
/// Who of several users of a host disk may begin a request: start-time fair queueing (Goyal, Vin, Cheng, 1997) for a disk that does several
/// at once. While users wait, what each was served, divided by its weight, differs by no more than a few requests of each. Not thread-safe; pure.
/// </summary>
/// <remarks>
/// Each request gets a start tag, the later of the virtual time and its user's last finish tag, and a finish tag, which is its cost divided
/// by the user's weight later. The waiting request with the least start tag goes next, and the virtual time is its start tag.
/// </remarks>
internal sealed class FairShare(int depth)
{
    /// <summary>The largest weight.</summary>
    public const int MaxWeight = 100_000;

    // Tags count cost in steps finer than the largest weight, so that division loses next to nothing.
    private const int Fraction = 20;

    private readonly List<User> _users = [];
    private UInt128 _virtualTime;
    private int _begun;

    /// <summary>Adds a user.</summary>
    /// <param name="weight">Its share in relation to the others', 1 to <see cref="MaxWeight"/>.</param>
    /// <returns>Its number.</returns>
    public int Join(int weight)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(weight, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(weight, MaxWeight);
        int free = _users.FindIndex(u => u.Weight == 0);
        var user = new User { Weight = weight, Finish = _virtualTime };
        if (free < 0)
            _users.Add(user);
        else
            _users[free] = user;
        return free < 0 ? _users.Count - 1 : free;
    }

    /// <summary>Takes a user out that has nothing begun and does not wait.</summary>
    public void Leave(int user) => _users[user].Weight = 0;

    /// <summary>Begins a request, or has its user wait for <see cref="End"/> to name it.</summary>
    /// <param name="user">The user, which does not wait.</param>
    /// <param name="cost">What the request costs the disk; at least 1.</param>
    public bool TryBegin(int user, long cost)
    {
        var own = _users[user];
        own.Start = UInt128.Max(_virtualTime, own.Finish);
        own.Cost = cost;
        // Whoever comes while others wait finds no place free: each that becomes free is given to one of them.
        own.Waits = _begun == depth;
        if (own.Waits)
            return false;
        Begin(own);
        return true;
    }

    /// <summary>A request has ended: the place goes to the waiting user that is named, if one waits.</summary>
    /// <returns>The user whose request has begun by this; -1 if none waits.</returns>
    public int End()
    {
        _begun--;
        int next = -1;
        for (int i = 0; i < _users.Count; i++)
        {
            if (_users[i].Waits && (next < 0 || _users[i].Start < _users[next].Start))
                next = i;
        }

        if (next >= 0)
            Begin(_users[next]);
        return next;
    }

    /// <summary>A user waits no longer.</summary>
    public void GiveUp(int user) => _users[user].Waits = false;

    private void Begin(User user)
    {
        _begun++;
        user.Waits = false;
        _virtualTime = UInt128.Max(_virtualTime, user.Start);
        user.Finish = user.Start + ((UInt128)user.Cost << Fraction) / (uint)user.Weight;
    }

    private sealed class User
    {
        public int Weight;
        public bool Waits;
        public long Cost;
        public UInt128 Start;
        public UInt128 Finish;
    }
}
