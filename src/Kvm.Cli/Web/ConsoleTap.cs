using System.Text;
using Kvm.Web;

namespace Kvm.Cli.Web;

/// <summary>
/// What a guest prints, for pages: vCPU threads put bytes into a buffer of fixed size and never wait, somebody else tells the pages now and
/// then. Bytes that find no room are dropped and counted.
/// </summary>
internal sealed class ConsoleTap
{
    private const int Capacity = 256 << 10;

    private readonly Lock _lock = new();
    private readonly Decoder _decoder = Encoding.UTF8.GetDecoder();
    private readonly char[] _text = new char[Encoding.UTF8.GetMaxCharCount(Capacity)];
    private byte[] _filling = new byte[Capacity];
    private byte[] _telling = new byte[Capacity];
    private int _count;
    private long _dropped;

    /// <summary>Takes what a guest printed; any thread.</summary>
    public void Write(ReadOnlySpan<byte> text)
    {
        lock (_lock)
        {
            int fits = Math.Min(text.Length, Capacity - _count);
            text[..fits].CopyTo(_filling.AsSpan(_count));
            _count += fits;
            _dropped += text.Length - fits;
        }
    }

    /// <summary>Tells the pages what came since the last call; one thread. What is no UTF-8 is told as U+FFFD.</summary>
    public void TellTo(EventFeed feed)
    {
        int count;
        long dropped;
        lock (_lock)
        {
            (count, dropped) = (_count, _dropped);
            (_filling, _telling) = (_telling, _filling);
            (_count, _dropped) = (0, 0);
        }

        if (count == 0 && dropped == 0)
            return;
        int length = _decoder.GetChars(_telling.AsSpan(0, count), _text, flush: false);
        feed.Publish("console", LiveJson.Of(json =>
        {
            json.WriteStartObject();
            json.WriteString("text", _text.AsSpan(0, length));
            if (dropped > 0)
                json.WriteNumber("dropped", dropped);
            json.WriteEndObject();
        }));
    }
}
