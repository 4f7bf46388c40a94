using System.Buffers.Text;

namespace Kvm.Devices.Net.Metadata;

/// <summary>How far a request was understood.</summary>
internal enum HttpParse
{
    /// <summary>Its end is not there yet.</summary>
    Incomplete,

    /// <summary>It is one.</summary>
    Request,

    /// <summary>It is none.</summary>
    Malformed,
}

/// <summary>A request of HTTP 1.0 or 1.1 (RFC 9112) as far as a metadata service looks at it: views into the bytes it was read from.</summary>
internal ref struct HttpRequest
{
    /// <summary>The method, such as GET.</summary>
    public ReadOnlySpan<byte> Method;

    /// <summary>The path; empty where the target has none.</summary>
    public ReadOnlySpan<byte> Path;

    /// <summary>Bytes of the request without its body.</summary>
    public int HeadLength;

    /// <summary>Bytes of its body.</summary>
    public long BodyLength;

    /// <summary>The body's length is said in a way that is not understood here.</summary>
    public bool HasOtherBody;

    /// <summary>More may follow on the connection.</summary>
    public bool KeepsAlive;

    /// <summary>JSON is wanted.</summary>
    public bool WantsJson;

    /// <summary>The token; empty where there is none.</summary>
    public ReadOnlySpan<byte> Token;

    /// <summary>How long a token is to be good for, as it was written; empty where nothing is said.</summary>
    public ReadOnlySpan<byte> Lifetime;

    /// <summary>The same, by the header's name that EC2 has.</summary>
    public ReadOnlySpan<byte> Ec2Lifetime;

    /// <summary>It came by way of a proxy.</summary>
    public bool IsForwarded;

    /// <summary>Reads a request's head.</summary>
    /// <param name="bytes">What has come of it.</param>
    /// <param name="request">What it says.</param>
    public static HttpParse TryParse(ReadOnlySpan<byte> bytes, out HttpRequest request)
    {
        request = default;
        int end = bytes.IndexOf("\r\n\r\n"u8);
        if (end < 0)
            return HttpParse.Incomplete;
        request.HeadLength = end + 4;
        var lines = bytes[..(end + 2)];
        bool good = request.ReadTarget(TakeLine(ref lines));
        while (good && !lines.IsEmpty)
            good = request.ReadHeader(TakeLine(ref lines));
        return good ? HttpParse.Request : HttpParse.Malformed;
    }

    private static ReadOnlySpan<byte> TakeLine(scoped ref ReadOnlySpan<byte> lines)
    {
        int end = lines.IndexOf("\r\n"u8);
        var line = lines[..end];
        lines = lines[(end + 2)..];
        return line;
    }

    private bool ReadTarget(ReadOnlySpan<byte> line)
    {
        int first = line.IndexOf((byte)' '), last = line.LastIndexOf((byte)' ');
        if (first <= 0 || last <= first + 1 || line.IndexOfAnyInRange((byte)0, (byte)31) >= 0)
            return false;
        Method = line[..first];
        Path = line[(first + 1)..last];
        if (Path.IndexOf((byte)' ') >= 0)
            return false;
        // RFC 9112, 3.2.2: a client may name the whole address.
        var scheme = "http://"u8;
        if (Path.StartsWith(scheme))
        {
            int slash = Path[scheme.Length..].IndexOf((byte)'/');
            Path = slash < 0 ? Path.Length == scheme.Length ? default : "/"u8 : Path[(scheme.Length + slash)..];
        }

        var version = line[(last + 1)..];
        KeepsAlive = version.SequenceEqual("HTTP/1.1"u8);
        return KeepsAlive || version.SequenceEqual("HTTP/1.0"u8);
    }

    private bool ReadHeader(ReadOnlySpan<byte> line)
    {
        int colon = line.IndexOf((byte)':');
        // RFC 9112, 5.1 and 5.2: no space before the colon, and no lines that go on from the one before.
        if (colon <= 0 || line[..colon].IndexOfAnyInRange((byte)0, (byte)32) >= 0)
            return false;
        var name = line[..colon];
        var value = line[(colon + 1)..].Trim(" \t"u8);
        if (Is(name, "content-length"u8))
            return Utf8Parser.TryParse(value, out BodyLength, out int used) && used == value.Length && BodyLength >= 0;
        if (Is(name, "connection"u8))
            KeepsAlive = !Is(value, "close"u8) && (KeepsAlive || Is(value, "keep-alive"u8));
        else if (Is(name, "transfer-encoding"u8))
            HasOtherBody = true;
        else if (Is(name, "accept"u8))
            ReadAccept(value);
        else if (Is(name, "x-metadata-token"u8) || Is(name, "x-aws-ec2-metadata-token"u8))
            Token = value;
        else if (Is(name, "x-metadata-token-ttl-seconds"u8))
            Lifetime = value;
        else if (Is(name, "x-aws-ec2-metadata-token-ttl-seconds"u8))
            Ec2Lifetime = value;
        else if (Is(name, "x-forwarded-for"u8))
            IsForwarded = true;
        return true;
    }

    /// <summary>The first of what is accepted that there is.</summary>
    private void ReadAccept(ReadOnlySpan<byte> value)
    {
        while (!value.IsEmpty)
        {
            int comma = value.IndexOf((byte)',');
            var one = comma < 0 ? value : value[..comma];
            value = comma < 0 ? default : value[(comma + 1)..];
            int semicolon = one.IndexOf((byte)';');
            one = (semicolon < 0 ? one : one[..semicolon]).Trim(" \t"u8);
            WantsJson = Is(one, "application/json"u8);
            // Firecracker writes plain/text where others write text/plain.
            if (WantsJson || Is(one, "text/plain"u8) || Is(one, "plain/text"u8) || Is(one, "*/*"u8))
                return;
        }
    }

    private static bool Is(ReadOnlySpan<byte> text, ReadOnlySpan<byte> other) => System.Text.Ascii.EqualsIgnoreCase(text, other);
}
