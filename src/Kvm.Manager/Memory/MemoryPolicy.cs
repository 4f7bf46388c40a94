namespace Kvm.Manager.Memory;

/// <summary>A guest as the policy sees it. Immutable; sizes in bytes.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Min">It is never left less.</param>
/// <param name="Max">It is never given more.</param>
/// <param name="Weight">Its share of what is taken from or given to several, 1 to 1000.</param>
/// <param name="Target">What its balloon is to leave it now.</param>
/// <param name="Left">What its balloon leaves it now.</param>
/// <param name="Available">What it could give to its programs without swapping; null where it does not say: nothing is taken from it then.</param>
public readonly record struct MemoryGuest(string Name, ulong Min, ulong Max, int Weight, ulong Target, ulong Left, ulong? Available);

/// <summary>The host as the policy sees it. Immutable.</summary>
/// <param name="Total">Bytes of memory it has.</param>
/// <param name="Available">Bytes it could give without swapping (MemAvailable).</param>
/// <param name="Pressure">Part of the last ten seconds in which somebody waited for memory (PSI, some avg10), 0 to 100.</param>
public readonly record struct MemoryHost(ulong Total, ulong Available, double Pressure);

/// <summary>What the policy wants of a guest's balloon. Immutable.</summary>
/// <param name="Name">The guest.</param>
/// <param name="Target">Bytes that it is to be left.</param>
/// <param name="Why">Why.</param>
public readonly record struct MemoryMove(string Name, ulong Target, string Why);

/// <summary>
/// Who gets the host's memory: a pure function of what guests and host say. A guest that runs short is given what the host has to spare, then what others leave idle; when the host runs short, what is idle
/// goes first, and only under pressure what is used, by weight. Never below a guest's minimum, never above its maximum. Three marks keep it still: between them nothing moves.
/// </summary>
public static class MemoryPolicy
{
    /// <summary>No move is smaller: a few pages to and fro help nobody.</summary>
    public const ulong Step = 16 << 20;

    /// <summary>A guest with less than this part of its memory available runs short, and is given memory until it has <see cref="Comfort"/>.</summary>
    public const double Short = 0.10;

    /// <summary>See <see cref="Short"/>.</summary>
    public const double Comfort = 0.20;

    /// <summary>What a guest has available beyond this part is idle, and may be taken.</summary>
    public const double Idle = 0.30;

    /// <summary>A host with less than this part available runs short, and takes memory back until it has <see cref="HostHigh"/>.</summary>
    public const double HostLow = 0.10;

    /// <summary>See <see cref="HostLow"/>.</summary>
    public const double HostHigh = 0.15;

    /// <summary>From this pressure on used memory is taken, too.</summary>
    public const double HighPressure = 10;

    /// <summary>Decides once.</summary>
    /// <param name="host">The host.</param>
    /// <param name="guests">The guests; those whose minimum is their maximum are left alone.</param>
    /// <returns>The guests whose targets change, each once.</returns>
    public static IReadOnlyList<MemoryMove> Decide(MemoryHost host, IReadOnlyList<MemoryGuest> guests)
    {
        ArgumentNullException.ThrowIfNull(guests);
        var targets = new Dictionary<string, (ulong Target, string Why)>(StringComparer.Ordinal);
        // Who has not yet done what it was asked for is not asked for more: what it says is of before.
        var settled = guests.Where(guest => guest.Min < guest.Max && Apart(guest.Target, guest.Left) < Step).ToList();
        ulong low = Part(host.Total, HostLow), high = Part(host.Total, HostHigh);
        ulong missing = host.Available < low || host.Pressure >= HighPressure ? high - Math.Min(high, host.Available) : 0;
        if (missing > 0)
        {
            missing -= Take(settled, missing, IdleOf, "the host runs short: idle memory", targets);
            if (missing > 0 && host.Pressure >= HighPressure)
                Take(settled, missing, guest => Target(guest, targets) - Math.Min(Target(guest, targets), guest.Min), "the host waits for memory", targets);
            return Moves(guests, targets);
        }

        Give(settled, host.Available - Math.Min(host.Available, high), targets);
        return Moves(guests, targets);
    }

    /// <summary>What a guest leaves idle and may be taken from it.</summary>
    private static ulong IdleOf(MemoryGuest guest)
    {
        if (guest.Available is not { } available || guest.Target <= guest.Min)
            return 0;
        ulong kept = Part(guest.Target, Idle);
        return Math.Min(available - Math.Min(available, kept), guest.Target - guest.Min);
    }

    /// <summary>What a guest that runs short lacks.</summary>
    private static ulong Lack(MemoryGuest guest)
    {
        if (guest.Available is not { } available || available >= Part(guest.Target, Short) || guest.Target >= guest.Max)
            return 0;
        // With more memory the part is one of more.
        ulong wanted = (ulong)((Comfort * guest.Target - available) / (1 - Comfort));
        return Math.Min(Math.Max(wanted, Step), guest.Max - guest.Target);
    }

    private static void Give(List<MemoryGuest> guests, ulong spare, Dictionary<string, (ulong Target, string Why)> targets)
    {
        var hungry = guests.Where(guest => Lack(guest) >= Step || (Lack(guest) > 0 && guest.Max - guest.Target < Step)).OrderByDescending(guest => guest.Weight).ThenBy(guest => guest.Name, StringComparer.Ordinal).ToList();
        ulong lack = hungry.Aggregate(0UL, (sum, guest) => sum + Lack(guest));
        // Taken now, it is there when its guests have given it back; until then those that run short get what the host can spare.
        if (lack > spare)
            Take(guests.Where(guest => Lack(guest) == 0).ToList(), lack - spare, IdleOf, "idle, and another guest runs short", targets);
        foreach (var guest in hungry)
        {
            ulong given = Math.Min(Lack(guest), spare);
            if (given < Step && given < Lack(guest))
                continue;
            spare -= given;
            targets[guest.Name] = (guest.Target + given, "it runs short");
        }
    }

    /// <summary>Takes from several what each may be taken, more from those of less weight.</summary>
    /// <returns>How much was taken.</returns>
    private static ulong Take(List<MemoryGuest> guests, ulong amount, Func<MemoryGuest, ulong> may, string why, Dictionary<string, (ulong Target, string Why)> targets)
    {
        ulong taken = 0;
        var givers = guests.Where(guest => may(guest) >= Step).OrderBy(guest => guest.Weight).ThenByDescending(may).ThenBy(guest => guest.Name, StringComparer.Ordinal).ToList();
        double shares = givers.Sum(guest => may(guest) / (double)guest.Weight);
        foreach (var guest in givers)
        {
            double share = may(guest) / (double)guest.Weight / shares;
            ulong part = Math.Min(may(guest), Math.Max(Step, (ulong)(share * amount)));
            part = Math.Min(part, Math.Max(amount - Math.Min(amount, taken), 0));
            if (part < Step)
                continue;
            targets[guest.Name] = (Target(guest, targets) - part, why);
            taken += part;
        }

        return Math.Min(taken, amount);
    }

    private static ulong Target(MemoryGuest guest, Dictionary<string, (ulong Target, string Why)> targets) => targets.TryGetValue(guest.Name, out var changed) ? changed.Target : guest.Target;

    private static List<MemoryMove> Moves(IReadOnlyList<MemoryGuest> guests, Dictionary<string, (ulong Target, string Why)> targets) =>
        [.. guests.Where(guest => targets.TryGetValue(guest.Name, out var to) && to.Target != guest.Target).Select(guest => new MemoryMove(guest.Name, targets[guest.Name].Target, targets[guest.Name].Why))];

    private static ulong Apart(ulong a, ulong b) => a > b ? a - b : b - a;

    private static ulong Part(ulong of, double part) => (ulong)(of * part);
}
