using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Kvm.Devices.Net.Metadata;

/// <summary>What was found in a <see cref="MetadataTree"/>.</summary>
internal enum MetadataFind
{
    /// <summary>A value, in the form that was asked for.</summary>
    Found,

    /// <summary>There is no such value.</summary>
    Missing,

    /// <summary>It has no form as plain text: only texts and objects do.</summary>
    NotText,
}

/// <summary>
/// Metadata, an object of JSON, as everybody may ask for it: each value as JSON and, where it has one, in the plain form of EC2's service, made once. Members are in
/// the order of their names. Immutable.
/// </summary>
public sealed class MetadataTree
{
    /// <summary>The most bytes of JSON.</summary>
    public const int MostBytes = 1 << 20;

    /// <summary>The most levels.</summary>
    public const int MostLevels = 32;

    private readonly Node _root;

    private MetadataTree(Node root, byte[] bytes) => (_root, Bytes) = (root, bytes);

    /// <summary>No members.</summary>
    public static MetadataTree Empty { get; } = Parse("{}"u8, out var tree) is null ? tree! : throw new InvalidOperationException();

    /// <summary>All forms of all values, one after the other.</summary>
    internal byte[] Bytes { get; }

    /// <summary>Reads metadata.</summary>
    /// <param name="json">JSON in UTF-8.</param>
    /// <param name="tree">What it says.</param>
    /// <returns>What is wrong with it, or null.</returns>
    public static string? Parse(ReadOnlySpan<byte> json, out MetadataTree? tree)
    {
        tree = null;
        if (json.Length > MostBytes)
            return $"has {json.Length} bytes; {MostBytes} are possible";
        try
        {
            using var document = JsonDocument.Parse(json.ToArray(), new JsonDocumentOptions { MaxDepth = MostLevels });
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                return "is no object";
            var writer = new Writer();
            var root = writer.Add(document.RootElement, []);
            tree = new MetadataTree(root, writer.Finish(root));
            return null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // InvalidOperationException: half of a surrogate pair in a text, which the parser lets pass.
            return $"is no valid JSON of at most {MostLevels} levels";
        }
    }

    /// <summary>Finds a value by its JSON pointer (RFC 6901); several slashes count as one, and one at the end as none.</summary>
    /// <param name="path">The pointer.</param>
    /// <param name="json">As JSON; else in the plain form.</param>
    /// <param name="place">Where in <see cref="Bytes"/> it is.</param>
    internal MetadataFind Find(ReadOnlySpan<byte> path, bool json, out (int Start, int Length) place)
    {
        place = default;
        var node = _root;
        while (!path.IsEmpty)
        {
            int slash = path.IndexOf((byte)'/');
            var segment = slash < 0 ? path : path[..slash];
            path = slash < 0 ? default : path[(slash + 1)..];
            if (segment.IsEmpty)
                continue;
            node = node.Child(segment);
            if (node is null)
                return MetadataFind.Missing;
        }

        place = json ? node.Json : node.Text;
        return json || node.HasText ? MetadataFind.Found : MetadataFind.NotText;
    }

    private sealed class Node
    {
        public byte[] Name = [];
        public Node[] Children = [];
        public (int Start, int Length) Json, Text;
        public bool HasText;

        public Node? Child(ReadOnlySpan<byte> segment)
        {
            foreach (var child in Children)
            {
                if (IsNamed(child.Name, segment))
                    return child;
            }

            return null;
        }

        // RFC 6901, 4: ~1 stands for a slash, ~0 for a tilde.
        private static bool IsNamed(ReadOnlySpan<byte> name, ReadOnlySpan<byte> segment)
        {
            if (segment.IndexOf((byte)'~') < 0)
                return segment.SequenceEqual(name);
            int at = 0;
            for (int i = 0; i < segment.Length; i++, at++)
            {
                byte character = segment[i];
                if (character == '~' && i + 1 < segment.Length && segment[i + 1] is (byte)'0' or (byte)'1')
                    character = segment[++i] == '0' ? (byte)'~' : (byte)'/';
                if (at == name.Length || name[at] != character)
                    return false;
            }

            return at == name.Length;
        }
    }

    private sealed class Writer
    {
        private readonly ArrayBufferWriter<byte> _json = new(), _texts = new();

        public Node Add(JsonElement value, byte[] name)
        {
            int start = _json.WrittenCount;
            var node = new Node { Name = name };
            switch (value.ValueKind)
            {
                case JsonValueKind.Object:
                    AddMembers(value, node);
                    break;
                case JsonValueKind.Array:
                    AddElements(value, node);
                    break;
                case JsonValueKind.String:
                    AddQuoted(value.GetString()!);
                    AddText(node, value.GetString()!);
                    break;
                default:
                    _json.Write(Encoding.UTF8.GetBytes(value.GetRawText()));
                    break;
            }

            node.Json = (start, _json.WrittenCount - start);
            return node;
        }

        /// <summary>All bytes; the texts behind the JSON.</summary>
        public byte[] Finish(Node root)
        {
            Move(root, _json.WrittenCount);
            return [.. _json.WrittenSpan, .. _texts.WrittenSpan];
        }

        private static void Move(Node node, int by)
        {
            node.Text.Start += by;
            foreach (var child in node.Children)
                Move(child, by);
        }

        private void AddMembers(JsonElement value, Node node)
        {
            // Of two members of one name the last one counts.
            var members = new SortedDictionary<string, JsonElement>(StringComparer.Ordinal);
            foreach (var member in value.EnumerateObject())
                members[member.Name] = member.Value;
            var children = new List<Node>();
            _json.Write("{"u8);
            foreach (var (name, member) in members)
            {
                if (children.Count > 0)
                    _json.Write(","u8);
                AddQuoted(name);
                _json.Write(":"u8);
                children.Add(Add(member, Encoding.UTF8.GetBytes(name)));
            }

            _json.Write("}"u8);
            node.Children = [.. children];
            AddText(node, string.Join('\n', members.Select(m => m.Value.ValueKind == JsonValueKind.Object ? m.Key + "/" : m.Key)));
        }

        private void AddElements(JsonElement value, Node node)
        {
            var children = new List<Node>();
            _json.Write("["u8);
            foreach (var element in value.EnumerateArray())
            {
                if (children.Count > 0)
                    _json.Write(","u8);
                children.Add(Add(element, Encoding.UTF8.GetBytes(children.Count.ToString(System.Globalization.CultureInfo.InvariantCulture))));
            }

            _json.Write("]"u8);
            node.Children = [.. children];
        }

        private void AddQuoted(string text)
        {
            _json.Write("\""u8);
            _json.Write(JsonEncodedText.Encode(text, JavaScriptEncoder.UnsafeRelaxedJsonEscaping).EncodedUtf8Bytes);
            _json.Write("\""u8);
        }

        private void AddText(Node node, string text)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(text);
            (node.Text, node.HasText) = ((_texts.WrittenCount, bytes.Length), true);
            _texts.Write(bytes);
        }
    }
}
