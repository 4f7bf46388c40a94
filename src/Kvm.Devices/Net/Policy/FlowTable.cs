using System.Security.Cryptography;

namespace Kvm.Devices.Net.Policy;

/// <summary>Who decides about flows that the table does not know. Any thread; never throws.</summary>
internal interface IFlowJudge
{
    /// <summary>Grows with each change of rules: what an older judge said is asked again.</summary>
    uint Generation { get; }

    /// <summary>The rule that decides about a flow, by the ports of the switch it is between.</summary>
    int Judge(ushort from, ushort to, in FlowKey key);

    /// <summary>True if the rule allows.</summary>
    bool Allows(int rule);
}

/// <summary>
/// What was decided about flows, so that their next frames and their answers need no rules: a fixed number of entries in buckets of eight. A flow that was refused is known as that
/// one way only. An entry nobody uses ages; a new one takes the place of the least worthy of its bucket, and flows that were never answered do not push out those that were,
/// nor has one port more than half of a bucket: floods change nothing for others. Any thread; allocates nothing.
/// </summary>
public sealed class FlowTable
{
    /// <summary>Entries where nothing is said.</summary>
    public const int DefaultCapacity = 16_384;

    private const int Ways = 8, Stripes = 64;

    // Seconds that flows live unused. RFC 5382, REQ-5: 2 hours and 4 minutes for a TCP connection; RFC 4787, REQ-5: 2 minutes for UDP.
    private const int DeniedLife = 30, NewLife = 60, ClosingLife = 30, TcpLife = 7440, OtherLife = 120;

    private readonly Entry[] _entries;
    private readonly uint[] _tags;
    private readonly Lock[] _locks = [.. Enumerable.Range(0, Stripes).Select(_ => new Lock())];
    private readonly ulong _seed = BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(8));
    private readonly TimeProvider _time;
    private readonly long _second;
    private long _refused;
    private long _evicted;

    /// <summary>Makes an empty one.</summary>
    /// <param name="time">The clock.</param>
    /// <param name="capacity">Entries, rounded up to a power of two of at least 8; about 90 bytes each.</param>
    public FlowTable(TimeProvider time, int capacity = DefaultCapacity)
    {
        ArgumentNullException.ThrowIfNull(time);
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(capacity, 1 << 24);
        int size = Math.Max(Ways, (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)capacity));
        (_entries, _tags, _time, _second) = (new Entry[size], new uint[size], time, time.TimestampFrequency);
    }

    /// <summary>Entries there is room for.</summary>
    public int Capacity => _entries.Length;

    /// <summary>Allowed flows that found no place: their answers are refused.</summary>
    public long Unrecorded => Volatile.Read(ref _refused);

    /// <summary>Live entries whose place another took.</summary>
    public long Evicted => Volatile.Read(ref _evicted);

    /// <summary>Flows that are known and have not aged, and how many of them are refused. Takes a while; not exact while frames pass.</summary>
    public (int Live, int Denied) Census()
    {
        long now = _time.GetTimestamp();
        int live = 0, denied = 0;
        for (int i = 0; i < _entries.Length; i++)
        {
            lock (LockOf(i / Ways))
            {
                if (!IsLive(in _entries[i], now))
                    continue;
                live++;
                denied += _entries[i].Is(States.Allowed) ? 0 : 1;
            }
        }

        return (live, denied);
    }

    /// <summary>Decides about a frame of a flow.</summary>
    /// <param name="judge">The rules as of now.</param>
    /// <param name="from">The port of the switch it comes from.</param>
    /// <param name="to">The one it goes to.</param>
    /// <param name="key">The flow.</param>
    /// <param name="tcpFlags">Of TCP; else 0.</param>
    /// <param name="rule">The rule that decided.</param>
    /// <returns>True if it may pass.</returns>
    internal bool Decide<TJudge>(TJudge judge, ushort from, ushort to, in FlowKey key, byte tcpFlags, out int rule)
        where TJudge : class, IFlowJudge
    {
        uint hash = key.Hash(_seed);
        int bucket = (int)(hash & (uint)(_entries.Length / Ways - 1));
        uint tag = hash | 1;
        long now = _time.GetTimestamp();
        lock (LockOf(bucket))
        {
            int at = Find(bucket, tag, in key, from, to, now, out bool answer);
            if (at >= 0)
            {
                ref var entry = ref _entries[at];
                if (unchecked((int)(judge.Generation - entry.Generation)) > 0)
                    Rejudge(judge, ref entry);
                rule = entry.Rule;
                if (entry.Is(States.Allowed))
                {
                    entry.Touch(now, answer, tcpFlags);
                    return true;
                }

                if (!answer)
                {
                    entry.LastSeen = now;
                    return false;
                }
            }

            rule = judge.Judge(from, to, in key);
            bool allowed = judge.Allows(rule);
            // What is refused this way says nothing about the other way, which was refused too.
            if (at < 0)
                at = Place(bucket, from, allowed, now);
            if (at < 0)
                return allowed;
            _tags[at] = tag;
            _entries[at] = new Entry { Key = key, From = from, To = to, Rule = rule, Generation = judge.Generation, State = States.Used | (allowed ? States.Allowed : 0) };
            _entries[at].Touch(now, answer: false, tcpFlags);
            return allowed;
        }
    }

    /// <summary>True if a flow is known and allowed, whichever way it is; for errors about its packets.</summary>
    internal bool Knows<TJudge>(TJudge judge, ushort from, ushort to, in FlowKey key, out int rule)
        where TJudge : class, IFlowJudge
    {
        uint hash = key.Hash(_seed);
        int bucket = (int)(hash & (uint)(_entries.Length / Ways - 1));
        lock (LockOf(bucket))
        {
            int at = Find(bucket, hash | 1, in key, from, to, _time.GetTimestamp(), out _);
            rule = -1;
            if (at < 0)
                return false;
            ref var entry = ref _entries[at];
            if (unchecked((int)(judge.Generation - entry.Generation)) > 0)
                Rejudge(judge, ref entry);
            rule = entry.Rule;
            return entry.Is(States.Allowed);
        }
    }

    /// <summary>Forgets the flows of a port: somebody else is there now.</summary>
    internal void Forget(ushort port)
    {
        for (int i = 0; i < _entries.Length; i++)
        {
            lock (LockOf(i / Ways))
            {
                if (_entries[i].From == port || _entries[i].To == port)
                    (_tags[i], _entries[i]) = (0, default);
            }
        }
    }

    private static void Rejudge<TJudge>(TJudge judge, ref Entry entry)
        where TJudge : class, IFlowJudge
    {
        entry.Rule = judge.Judge(entry.From, entry.To, in entry.Key);
        entry.Generation = judge.Generation;
        entry.State = judge.Allows(entry.Rule) ? entry.State | States.Allowed : entry.State & ~States.Allowed;
    }

    private Lock LockOf(int bucket) => _locks[bucket % Stripes];

    private int Find(int bucket, uint tag, in FlowKey key, ushort from, ushort to, long now, out bool answer)
    {
        answer = false;
        int first = bucket * Ways;
        for (int i = first; i < first + Ways; i++)
        {
            if (_tags[i] != tag)
                continue;
            ref var entry = ref _entries[i];
            answer = entry.From == to && entry.To == from && entry.Key == key.Reversed;
            if ((answer || (entry.From == from && entry.To == to && entry.Key == key)) && IsLive(in entry, now))
                return i;
        }

        return -1;
    }

    /// <summary>A place for a newcomer, or -1 if all of the bucket are worthier.</summary>
    private int Place(int bucket, ushort from, bool allowed, long now)
    {
        int first = bucket * Ways, victim = -1, own = -1, owned = 0;
        for (int i = first; i < first + Ways; i++)
        {
            ref readonly var entry = ref _entries[i];
            if (!IsLive(in entry, now))
                return i;
            if (entry.From == from)
            {
                owned++;
                own = own < 0 || IsLess(in entry, in _entries[own]) ? i : own;
            }

            victim = victim < 0 || IsLess(in entry, in _entries[victim]) ? i : victim;
        }

        if (owned >= Ways / 2)
            victim = own;
        // Who is refused takes the place of nobody but its like, who is new that of nobody who was answered but its own.
        if (Worth(in _entries[victim]) > (allowed ? victim == own && owned >= Ways / 2 ? 2 : 1 : 0))
        {
            if (allowed)
                Interlocked.Increment(ref _refused);
            return -1;
        }

        Interlocked.Increment(ref _evicted);
        return victim;
    }

    private static bool IsLess(in Entry one, in Entry other) =>
        Worth(in one) != Worth(in other) ? Worth(in one) < Worth(in other) : one.LastSeen < other.LastSeen;

    private static int Worth(in Entry entry) => !entry.Is(States.Allowed) ? 0 : !entry.Is(States.Answered) || entry.Is(States.Closing) ? 1 : 2;

    private bool IsLive(in Entry entry, long now)
    {
        if (!entry.Is(States.Used))
            return false;
        int life = !entry.Is(States.Allowed) ? DeniedLife
            : entry.Is(States.Closing) ? ClosingLife
            : !entry.Is(States.Answered) ? NewLife
            : entry.Key.Protocol == PacketHeaders.Tcp ? TcpLife : OtherLife;
        return now - entry.LastSeen <= life * _second;
    }

    [Flags]
    private enum States : byte
    {
        Used = 1,
        Allowed = 2,
        Answered = 4,
        Closing = 8,
    }

    private struct Entry
    {
        public FlowKey Key;
        public long LastSeen;
        public int Rule;
        public uint Generation;
        public ushort From;
        public ushort To;
        public States State;

        public readonly bool Is(States state) => (State & state) != 0;

        public void Touch(long now, bool answer, byte tcpFlags)
        {
            LastSeen = now;
            if (answer)
                State |= States.Answered;
            if ((tcpFlags & (PacketHeaders.Fin | PacketHeaders.Reset)) != 0)
                State |= States.Closing;
            else if ((tcpFlags & (PacketHeaders.Syn | PacketHeaders.Acknowledge)) == PacketHeaders.Syn)
                State &= ~(States.Closing | States.Answered);
        }
    }
}
