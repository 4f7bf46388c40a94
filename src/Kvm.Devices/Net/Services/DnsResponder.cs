using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace Kvm.Devices.Net.Services;

/// <summary>What is to become of a question.</summary>
public enum DnsOutcome
{
    /// <summary>It is none: nothing is answered.</summary>
    Dropped,

    /// <summary>There is an answer.</summary>
    Answered,

    /// <summary>It is about other networks: somebody else may know.</summary>
    NotOurs,
}

/// <summary>
/// Answers questions about a network's names (RFC 1035): addresses of names, names of addresses. A name may end in the network's domain or not. What is not about this network is
/// left to others. Immutable but for its counters; one thread at a time; allocates nothing for a question.
/// </summary>
public sealed class DnsResponder
{
    /// <summary>The longest question that is looked at, and the longest answer.</summary>
    public const int MostBytes = 1232, MostAnswer = 800;

    private const int HeaderBytes = 12, MostName = 255, Ttl = 60;
    private const ushort TypeA = 1, TypePtr = 12, TypeAny = 255, ClassIn = 1, ClassAny = 255;
    private const byte FormatError = 1, NoSuchName = 3, NotImplemented = 4;

    private readonly Dictionary<string, uint> _addresses = new(StringComparer.Ordinal);
    private readonly Dictionary<string, byte[]> _names = new(StringComparer.Ordinal);
    private readonly Dictionary<string, uint>.AlternateLookup<ReadOnlySpan<char>> _addressOf;
    private readonly Dictionary<string, byte[]>.AlternateLookup<ReadOnlySpan<char>> _nameOf;
    private readonly NetworkPlan _plan;
    private readonly string _suffix;
    private readonly char[] _name = new char[MostName];

    /// <summary>Makes one that knows the plan's names.</summary>
    public DnsResponder(NetworkPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        _plan = plan;
        _suffix = plan.Domain.Length == 0 ? "" : "." + plan.Domain;
        foreach (var (name, address) in plan.Machines.Select(m => (m.Name, m.Address)).Concat(plan.Names.Select(n => (n.Key, n.Value))))
        {
            _addresses[name] = address;
            _names.TryAdd(ReverseName(address), Encode(name + _suffix));
        }

        (_addressOf, _nameOf) = (_addresses.GetAlternateLookup<ReadOnlySpan<char>>(), _names.GetAlternateLookup<ReadOnlySpan<char>>());
    }

    /// <summary>Questions that were none.</summary>
    public long Malformed { get; private set; }

    /// <summary>Questions answered.</summary>
    public long Answers { get; private set; }

    /// <summary>Answers a question.</summary>
    /// <param name="question">The datagram's payload.</param>
    /// <param name="answer">At least <see cref="MostAnswer"/>.</param>
    /// <param name="length">The answer's length.</param>
    public DnsOutcome Answer(ReadOnlySpan<byte> question, Span<byte> answer, out int length)
    {
        length = 0;
        // An answer, or so short that it has no number to answer by.
        if (question.Length is < HeaderBytes or > MostBytes || (question[2] & 0x80) != 0)
        {
            Malformed++;
            return DnsOutcome.Dropped;
        }

        if ((question[2] & 0x78) != 0)
            return Refuse(question, NotImplemented, answer, out length);
        int end = ReadName(question, out int characters);
        if (BinaryPrimitives.ReadUInt16BigEndian(question[4..]) != 1 || end < 0 || question.Length - end < 4)
            return Refuse(question, FormatError, answer, out length);
        ushort type = BinaryPrimitives.ReadUInt16BigEndian(question[end..]), kind = BinaryPrimitives.ReadUInt16BigEndian(question[(end + 2)..]);
        ReadOnlySpan<char> name = _name.AsSpan(0, characters);
        if (kind is not (ClassIn or ClassAny))
            return DnsOutcome.NotOurs;
        Answers++;
        question[..(end + 4)].CopyTo(answer);
        length = end + 4;
        if (name.EndsWith(".in-addr.arpa", StringComparison.Ordinal))
            return AnswerReverse(name, type, answer, ref length);
        bool ours = _suffix.Length != 0 && name.EndsWith(_suffix, StringComparison.Ordinal);
        if (ours)
            name = name[..^_suffix.Length];
        if (_addressOf.TryGetValue(name, out uint address))
        {
            if (type is TypeA or TypeAny)
                AddAddress(address, answer, ref length);
            Finish(answer, 0, type is TypeA or TypeAny ? 1 : 0);
            return DnsOutcome.Answered;
        }

        // A name without a dot is nobody's in other networks.
        if (!ours && name.Contains('.'))
            return NotOurs();
        Finish(answer, NoSuchName, 0);
        return DnsOutcome.Answered;
    }

    /// <summary>Says that a question cannot be answered by anybody.</summary>
    /// <param name="question">One that <see cref="Answer"/> called <see cref="DnsOutcome.NotOurs"/>.</param>
    /// <param name="answer">At least <see cref="MostAnswer"/>.</param>
    /// <returns>The answer's length.</returns>
    public static int Refuse(ReadOnlySpan<byte> question, Span<byte> answer)
    {
        const byte refused = 5;
        Refuse(question, refused, answer, out int length);
        return length;
    }

    private DnsOutcome AnswerReverse(ReadOnlySpan<char> name, ushort type, Span<byte> answer, ref int length)
    {
        if (_nameOf.TryGetValue(name, out byte[]? found))
        {
            bool asked = type is TypePtr or TypeAny;
            if (asked)
                AddRecord(TypePtr, found, answer, ref length);
            Finish(answer, 0, asked ? 1 : 0);
            return DnsOutcome.Answered;
        }

        if (!IsOfNetwork(name))
            return NotOurs();
        Finish(answer, NoSuchName, 0);
        return DnsOutcome.Answered;
    }

    private DnsOutcome NotOurs()
    {
        Answers--;
        return DnsOutcome.NotOurs;
    }

    private static DnsOutcome Refuse(ReadOnlySpan<byte> question, byte why, Span<byte> answer, out int length)
    {
        question[..HeaderBytes].CopyTo(answer);
        Finish(answer, why, 0);
        BinaryPrimitives.WriteUInt16BigEndian(answer[4..], 0);
        length = HeaderBytes;
        return DnsOutcome.Answered;
    }

    // RFC 1035, 4.1.1: an answer, of who knows, recursion as wished and had, no other records.
    private static void Finish(Span<byte> answer, byte code, int answers)
    {
        (answer[2], answer[3]) = ((byte)(0x84 | (answer[2] & 0x79)), (byte)(0x80 | code));
        BinaryPrimitives.WriteUInt16BigEndian(answer[6..], (ushort)answers);
        answer[8..HeaderBytes].Clear();
    }

    private static void AddAddress(uint address, Span<byte> answer, ref int length)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, address);
        AddRecord(TypeA, bytes, answer, ref length);
    }

    private static void AddRecord(ushort type, ReadOnlySpan<byte> data, Span<byte> answer, ref int length)
    {
        var record = answer[length..];
        // The name is that of the question.
        BinaryPrimitives.WriteUInt16BigEndian(record, 0xc000 | HeaderBytes);
        BinaryPrimitives.WriteUInt16BigEndian(record[2..], type);
        BinaryPrimitives.WriteUInt16BigEndian(record[4..], ClassIn);
        BinaryPrimitives.WriteUInt32BigEndian(record[6..], Ttl);
        BinaryPrimitives.WriteUInt16BigEndian(record[10..], (ushort)data.Length);
        data.CopyTo(record[12..]);
        length += 12 + data.Length;
    }

    /// <summary>Reads the question's name as lower-case characters with dots. Returns where it ends; negative if it is none. A question has nothing to point back to.</summary>
    private int ReadName(ReadOnlySpan<byte> question, out int characters)
    {
        characters = 0;
        for (int at = HeaderBytes; at < question.Length;)
        {
            int label = question[at++];
            if (label == 0)
                return at;
            if (label > 63 || label > question.Length - at || at + label - HeaderBytes > MostName - 1)
                return -1;
            if (characters > 0)
                _name[characters++] = '.';
            foreach (byte b in question.Slice(at, label))
                _name[characters++] = b is >= (byte)'A' and <= (byte)'Z' ? (char)(b | 0x20) : b is > 0x20 and < 0x7f and not (byte)'.' ? (char)b : '?';
            at += label;
        }

        return -1;
    }

    /// <summary>True for the reverse name of an address of this network: its own to know, and nobody else's.</summary>
    private bool IsOfNetwork(ReadOnlySpan<char> name)
    {
        uint address = 0;
        int parts = 0;
        foreach (var range in name[..^".in-addr.arpa".Length].Split('.'))
        {
            if (parts == 4 || !byte.TryParse(name[range], NumberStyles.None, CultureInfo.InvariantCulture, out byte part))
                return false;
            address |= (uint)part << 8 * parts++;
        }

        return parts == 4 && _plan.Contains(address);
    }

    private static string ReverseName(uint address) =>
        string.Create(CultureInfo.InvariantCulture, $"{address & 0xff}.{address >> 8 & 0xff}.{address >> 16 & 0xff}.{address >> 24}.in-addr.arpa");

    private static byte[] Encode(string name) => [.. name.Split('.').SelectMany(label => Encoding.ASCII.GetBytes(label).Prepend((byte)label.Length)), 0];
}
