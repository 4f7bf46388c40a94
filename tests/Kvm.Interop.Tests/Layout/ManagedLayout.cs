using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using System.Text;

namespace Kvm.Interop.Tests.Layout;

/// <summary>Sizes and offsets of our structures as the runtime lays them out (not as a marshaller would), and the C names of fields.</summary>
internal static class ManagedLayout
{
    public static int SizeOf(Type type)
    {
        if (type.IsPointer)
        {
            return IntPtr.Size;
        }

        DynamicMethod method = new("size", typeof(int), []);
        ILGenerator il = method.GetILGenerator();
        il.Emit(OpCodes.Sizeof, type);
        il.Emit(OpCodes.Ret);
        return (int)method.Invoke(null, null)!;
    }

    public static int OffsetOf(FieldInfo field)
    {
        DynamicMethod method = new("offset", typeof(int), [], typeof(KvmSystem).Module, skipVisibility: true);
        ILGenerator il = method.GetILGenerator();
        LocalBuilder local = il.DeclareLocal(field.DeclaringType!);
        il.Emit(OpCodes.Ldloca, local);
        il.Emit(OpCodes.Ldflda, field);
        il.Emit(OpCodes.Conv_U);
        il.Emit(OpCodes.Ldloca, local);
        il.Emit(OpCodes.Conv_U);
        il.Emit(OpCodes.Sub);
        il.Emit(OpCodes.Conv_I4);
        il.Emit(OpCodes.Ret);
        return (int)method.Invoke(null, null)!;
    }

    public static FieldInfo[] FieldsOf(Type type) =>
        type.GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic);

    /// <summary>Every structure of the assembly that mirrors a C one: those with an explicit layout attribute or more, arrays excepted.</summary>
    public static IEnumerable<Type> Structures() =>
        typeof(KvmSystem).Assembly.GetTypes()
            .Where(t => t.IsValueType && !t.IsEnum && t.Namespace == "Kvm.Interop")
            .Where(t => t.StructLayoutAttribute is { } layout && t.GetCustomAttribute<InlineArrayAttribute>() is null
                && t.GetCustomAttribute<CompilerGeneratedAttribute>() is null)
            .Where(t => FieldsOf(t).Length > 0 && FieldsOf(t).All(f => IsPlain(f.FieldType)));

    /// <summary>GuestPhysAddr → guest_phys_addr; digits stay with what precedes them.</summary>
    public static string ToC(string pascal)
    {
        StringBuilder name = new();
        foreach (char c in pascal)
        {
            if (char.IsUpper(c) && name.Length > 0)
            {
                name.Append('_');
            }

            name.Append(char.ToLowerInvariant(c));
        }

        return name.ToString();
    }

    private static bool IsPlain(Type type) =>
        type.IsPointer || type.IsPrimitive || type.IsEnum || (type.IsValueType && !type.IsGenericType && FieldsOf(type).All(f => IsPlain(f.FieldType)));
}
