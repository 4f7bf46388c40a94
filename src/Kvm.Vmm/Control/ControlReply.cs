using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Control;

/// <summary>What a guest's control socket can be asked: one word, and what follows it. An object serves all clients; the server's thread calls it.</summary>
public interface IControlRequest
{
    /// <summary>The word.</summary>
    string Name { get; }

    /// <summary>The word and what follows, for people: <c>stats INTERVAL COUNT</c>.</summary>
    string Form { get; }

    /// <summary>Understands what follows the word.</summary>
    /// <param name="target">The guest.</param>
    /// <param name="words">The words behind <see cref="Name"/>.</param>
    /// <returns>The answer, or null where the words are not of the form.</returns>
    ControlReply? Begin(ControlTarget target, IReadOnlyList<string> words);
}

/// <summary>The answer to one request: what is sent, when. The server's thread alone, but for <see cref="Ring"/>.</summary>
public abstract class ControlReply : IDisposable
{
    private Action _ring = static () => { };

    /// <summary>When it has something to say, by <see cref="Environment.TickCount64"/>; <see cref="long.MaxValue"/> for as long as it does not know. Not below 0.</summary>
    public abstract long Due { get; }

    /// <summary>Whether the guest's vCPUs are to be asked where they are meanwhile.</summary>
    public virtual bool Samples => false;

    /// <summary>Says what there is to be said by now; at most <see cref="ControlProtocol.MostAnswerBytes"/>.</summary>
    /// <param name="now">The time, as of <see cref="Due"/>.</param>
    /// <param name="to">Takes it.</param>
    /// <returns>False where that was all: the client is hung up on.</returns>
    public abstract bool Advance(long now, IBufferWriter<byte> to);

    /// <summary>Takes what the client says behind its request.</summary>
    /// <returns>False where it may not: it is hung up on.</returns>
    public virtual bool Take(ReadOnlySpan<byte> input) => false;

    /// <summary>Lets go of what it holds. Once.</summary>
    public virtual void Dispose() => GC.SuppressFinalize(this);

    /// <summary>Has <see cref="Due"/> looked at again. Any thread.</summary>
    protected void Ring() => Volatile.Read(ref _ring)();

    /// <summary>Whom <see cref="Ring"/> tells.</summary>
    internal void Attach(Action ring) => Volatile.Write(ref _ring, ring);
}

/// <summary>An answer of one JSON object, made on a thread of the pool, so that what takes long holds nobody up.</summary>
public sealed class ControlAnswer : ControlReply
{
    private readonly ArrayBufferWriter<byte> _text = new();
    private volatile bool _done;

    /// <summary>Begins to make it.</summary>
    /// <param name="write">Does what was asked and writes the members of the answer. A <see cref="VmmException"/> becomes its members <c>error</c> and <c>id</c>.</param>
    public ControlAnswer(Action<Utf8JsonWriter> write) => ThreadPool.UnsafeQueueUserWorkItem(_ =>
    {
        Make(write);
        _done = true;
        Ring();
    }, null);

    /// <inheritdoc/>
    public override long Due => _done ? 0 : long.MaxValue;

    /// <inheritdoc/>
    public override bool Advance(long now, IBufferWriter<byte> to)
    {
        ArgumentNullException.ThrowIfNull(to);
        to.Write(_text.WrittenSpan);
        return false;
    }

    /// <summary>The object that says what went wrong.</summary>
    internal static void WriteError(IBufferWriter<byte> to, string text, string? id = null) => Write(to, json =>
    {
        json.WriteString("error", text);
        if (id is not null)
            json.WriteString("id", id);
    });

    private void Make(Action<Utf8JsonWriter> write)
    {
        try
        {
            Write(_text, write);
        }
        catch (Exception e) when (e is VmmException or IOException or UnauthorizedAccessException or InvalidOperationException or OperationCanceledException)
        {
            _text.ResetWrittenCount();
            WriteError(_text, VisibleText.Escape(e.Message), (e as VmmException)?.Error.Id);
        }
    }

    private static void Write(IBufferWriter<byte> to, Action<Utf8JsonWriter> write)
    {
        using var json = new Utf8JsonWriter(to, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
        json.WriteStartObject();
        write(json);
        json.WriteEndObject();
        json.Flush();
        to.Write("\n"u8);
    }
}
