using System.Buffers.Binary;
using System.Text;
using Kvm.Devices.Net;
using Kvm.Interop;

namespace Kvm.Vmm.Network.Switching;

/// <summary>
/// The first message each way between a card and a switch of another process: a text behind its length. The card says how it wants to be there, the switch whether it is;
/// then frames follow, with their headers (<see cref="StreamBackend"/>).
/// </summary>
internal static class SwitchHello
{
    /// <summary>Bytes of a message at most: a trunk of every other VLAN takes ten thousand.</summary>
    public const int Most = 12 << 10;

    private const int MostRefusal = 200;

    private const string Version = "kvmsharp-switch 1", Managed = "ok managed", Plain = "ok", Refused = "no ";

    /// <summary>What a card says.</summary>
    /// <param name="port">How it wants to be there.</param>
    /// <param name="mac">Its address, if that is fixed.</param>
    public static byte[] Ask(SwitchPortConfig port, MacAddress? mac) => Framed($"{Version}\n{port}\n{mac}");

    /// <summary>Understands what a card says; false if it is something else.</summary>
    public static bool TryRead(ReadOnlySpan<byte> message, out SwitchPortConfig port, out MacAddress? mac)
    {
        (port, mac) = (new SwitchPortConfig(), null);
        if (Encoding.UTF8.GetString(message).Split('\n') is not [Version, var text, var address] || SwitchPortConfig.Parse(text) is not { } parsed)
            return false;
        port = parsed;
        if (address.Length == 0)
            return true;
        bool isOne = MacAddress.TryParse(address, out var fixedMac) && fixedMac.IsUsable;
        mac = fixedMac;
        return isOne;
    }

    /// <summary>What the switch says.</summary>
    /// <param name="refusal">Why the card is not there; nothing if it is.</param>
    /// <param name="managed">Nobody but who serves the switch now may serve it.</param>
    public static byte[] Answer(string refusal, bool managed) =>
        Framed(refusal.Length == 0 ? managed ? Managed : Plain : Refused + (refusal.Length > MostRefusal ? refusal[..MostRefusal] : refusal));

    /// <summary>Understands what the switch says; false if it is something else.</summary>
    public static bool TryReadAnswer(ReadOnlySpan<byte> message, out string refusal, out bool managed)
    {
        string text = Encoding.UTF8.GetString(message);
        (refusal, managed) = (text.StartsWith(Refused, StringComparison.Ordinal) ? text[Refused.Length..] : "", text == Managed);
        return refusal.Length > 0 || text is Managed or Plain;
    }

    private static byte[] Framed(string text)
    {
        byte[] bytes = new byte[sizeof(int) + Encoding.UTF8.GetByteCount(text)];
        BinaryPrimitives.WriteInt32BigEndian(bytes, bytes.Length - sizeof(int));
        Encoding.UTF8.GetBytes(text, bytes.AsSpan(sizeof(int)));
        return bytes;
    }

    /// <summary>One message as it comes in. What follows it in the stream is left there.</summary>
    public sealed class Reader
    {
        private readonly byte[] _bytes = new byte[sizeof(int) + Most];
        private int _count;

        /// <summary>The message, once <see cref="Read"/> is true.</summary>
        public ReadOnlySpan<byte> Message => _bytes.AsSpan(sizeof(int), _count - sizeof(int));

        /// <summary>Reads on without waiting: true if the message is whole, false if there is more to come, null if there will not be one.</summary>
        public bool? Read(UnixSocket socket)
        {
            while (true)
            {
                int length = _count < sizeof(int) ? 0 : BinaryPrimitives.ReadInt32BigEndian(_bytes);
                if (_count >= sizeof(int) && length is < 1 or > Most)
                    return null;
                int missing = sizeof(int) + length - _count;
                if (missing == 0)
                    return true;
                int count = socket.Receive(_bytes.AsSpan(_count, missing), out var stray, wait: false);
                stray?.Dispose();
                if (count <= 0)
                    return count == -Errno.EAGAIN ? false : null;
                _count += count;
            }
        }
    }
}
