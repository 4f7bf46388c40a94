using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Kvm.Devices.Net.Services;

/// <summary>
/// Questions that were passed on to another nameserver, and who waits for their answers: a fixed number; the oldest has to go. A question has a number and a port by chance
/// (RFC 5452), so that nobody answers it who has not seen it. One thread at a time; allocates nothing for a question.
/// </summary>
internal sealed class DnsForwarder(TimeProvider time)
{
    /// <summary>Questions that can wait.</summary>
    public const int MostWaiting = 256;

    private const int FirstPort = 0x4000, PortMask = 0x7fff;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);

    private readonly Waiter[] _waiters = new Waiter[MostWaiting];
    private readonly byte[] _chance = new byte[4];
    private int _next;

    /// <summary>Who asked.</summary>
    /// <param name="Mac">The card.</param>
    /// <param name="Address">The address.</param>
    /// <param name="Port">The port.</param>
    /// <param name="Vlan">The VLAN; 0 is none.</param>
    public readonly record struct Client(MacAddress Mac, uint Address, ushort Port, ushort Vlan);

    /// <summary>Notes a question, and gives it another number.</summary>
    /// <param name="client">Who asked.</param>
    /// <param name="question">The datagram's payload, which is changed.</param>
    /// <returns>The port it is to be sent from.</returns>
    public ushort Add(in Client client, Span<byte> question)
    {
        RandomNumberGenerator.Fill(_chance);
        ref var waiter = ref _waiters[_next];
        _next = (_next + 1) % MostWaiting;
        waiter = new Waiter
        {
            Client = client,
            Id = BinaryPrimitives.ReadUInt16BigEndian(question),
            SentId = BinaryPrimitives.ReadUInt16BigEndian(_chance),
            Port = (ushort)(FirstPort + (BinaryPrimitives.ReadUInt16BigEndian(_chance.AsSpan(2)) & PortMask)),
            Asked = time.GetTimestamp(),
        };
        BinaryPrimitives.WriteUInt16BigEndian(question, waiter.SentId);
        return waiter.Port;
    }

    /// <summary>Finds who waits for an answer, and gives it its own number back; false if nobody does.</summary>
    /// <param name="port">The port it came to.</param>
    /// <param name="answer">The datagram's payload, which is changed.</param>
    /// <param name="client">Who waits.</param>
    public bool TryTake(ushort port, Span<byte> answer, out Client client)
    {
        client = default;
        if (answer.Length < 12 || (answer[2] & 0x80) == 0)
            return false;
        foreach (ref var waiter in _waiters.AsSpan())
        {
            if (waiter.Port != port || port == 0 || waiter.SentId != BinaryPrimitives.ReadUInt16BigEndian(answer) || time.GetElapsedTime(waiter.Asked) > s_patience)
                continue;
            BinaryPrimitives.WriteUInt16BigEndian(answer, waiter.Id);
            client = waiter.Client;
            waiter = default;
            return true;
        }

        return false;
    }

    private struct Waiter
    {
        public Client Client;
        public long Asked;
        public ushort Id;
        public ushort SentId;
        public ushort Port;
    }
}
